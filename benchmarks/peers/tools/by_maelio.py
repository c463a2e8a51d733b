"""`maelio convert`, as a user types it; the arguments are its options."""

import json
import sys

from maelio.cli import main

if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    options = [text for name, value in json.loads(arguments).items() for text in (f"--{name}", str(value))]
    raise SystemExit(main(["convert", *options, *sources, target]))
