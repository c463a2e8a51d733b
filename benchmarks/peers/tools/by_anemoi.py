"""anemoi-datasets with its defaults: a recipe, and `anemoi-datasets create`. Runs where zarr is version 2."""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    target, arguments, *sources = sys.argv[1:]
    given = json.loads(arguments)
    folder = Path(target)
    folder.mkdir()
    recipe = {
        "dates": given["dates"],
        "input": {"netcdf": {"path": sources, "param": given["variables"]}},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    program = Path(sys.prefix) / "bin" / "anemoi-datasets"
    os.execv(program, [str(program), "create", str(folder / "recipe.yaml"), str(folder / "dataset.zarr")])
