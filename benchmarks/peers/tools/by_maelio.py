"""maelio itself; the arguments are its options."""

import json
import sys

from maelio.converters.convert import convert
from maelio.converters.options import Options

if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    convert(sources, target, Options(**json.loads(arguments)))
