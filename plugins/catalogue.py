"""All datasets that are described, and the page of the documentation that follows from them."""

from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from maelio.plugins import downscaling, ens10, names, nogwd, power, radiation, radiation_tf, tweets, yr
from maelio.plugins.base import Described
from maelio.plugins.description import Argument, Description

CLASSES: tuple[type[Described], ...] = (
    yr.Yr,
    tweets.Tweets,
    radiation.Radiation,
    radiation_tf.RadiationTF,
    nogwd.Nogwd,
    ens10.Ens10,
    ens10.Ens5mini,
    downscaling.DownscalingTier1,
    downscaling.DownscalingTier2,
    downscaling.Downscaling,
    power.Constants,
    power.Production,
    power.ModelLevel,
    power.PressureLevel,
    power.SurfaceLevel,
)
"""In the order of the applications."""

_HEAD = """# Datasets

`maelio datasets show > docs/datasets.md` writes this page from the descriptions in `plugins/`.

Every name works in `climetlab.load_dataset(NAME, ...)` and `maelio.load_dataset(NAME, ...)`; the latter tells a misspelled name at once. Each is there a
second time as `maelio-...`, for where another package has the first name too. Arguments have the order and the defaults of the public plugins.
Beside them all take, by name:

- `source="synthetic"` (or `MAELIO_SYNTHETIC=1`): stand-ins that are written on this machine. `scale`, 0.01 unless `MAELIO_SYNTHETIC_SCALE` says otherwise, is their size as
  a part of the original's; `seed` makes others. `source="original"` comes before the setting.
- `version="0.7"`: an error where the description is of another version, so that a script says which data it means.

```python
ds = maelio.load_dataset("maelstrom-radiation", subset="tier-1", source="synthetic")
ds.urls()  # where the files are
ds.files()  # paths, through the cache
ds.manifest()  # URL, size and digest of each file
ds.to_xarray(chunks=None)  # lazily; what is derived too
ds.to_torch(batch_size=256)  # streams the converted copy of what to_xarray gives, made on first use
ds.to_store()  # where that copy is
```

Size and digest of every file are noted when it is first fetched, in `manifests/` of the user's cache, for each set of files and version. A file that
is another later is refused in one line. Files stay in the cache while the dataset is there, and once `to_xarray` was called until it is
closed (`with`, or `close()`) or the process ends.
"""


def descriptions() -> tuple[Description, ...]:
    return tuple(each.description for each in CLASSES)


def of_name(name: str) -> type[Described] | None:
    """By its id or that of its twin; None where it is none of these."""
    kinds = (kind for each in CLASSES for kind in (each, each.twin))
    return next((kind for kind in kinds if kind.description.id == name), None)


def find(name: str) -> Description:
    """By its id or that of its twin. Raises NotFound, with the nearest."""
    kind = of_name(name)
    if kind is None:
        raise names.unknown(name)
    return kind.description


def page() -> str:
    """Markdown: how all are used, and a section of each."""
    return _HEAD + "".join(f"\n{section(each)}" for each in descriptions())


def section(about: Description) -> str:
    """Markdown of one dataset."""
    return "\n".join(_lines(about)) + "\n"


def _lines(about: Description) -> Iterator[str]:
    yield from (f"## {about.id}", "", f"{about.title}.", "", about.about, "")
    if about.same_as:
        yield from (f"Another name of `{about.same_as}`.", "")
    if about.withheld:
        yield from (f"Stand-ins only: {about.withheld}.", "")
    if about.arguments:
        yield from ("| argument | must be | default | |", "|---|---|---|---|")
        yield from (_row(each.name, _legal(each), _default(each), each.about) for each in about.arguments)
        yield ""
    if about.subsets:
        yield from (f"| {about.subset_argument} | files |", "|---|---|")
        for label in about.subsets:
            count = len(about.requests({**about.minimal, about.subset_argument: label}))
            yield _row(label, str(count))
        yield ""
    example = about.requests(about.minimal)
    shown = ", ".join(f"{name}={value!r}" for name, value in about.minimal.items())
    yield from (f"Files, with `{shown}`: {len(example)}" if shown else f"Files: {len(example)}", "")
    yield from (f"    {example[0].url}", "")
    yield from ("| variable | dimensions | unit | |", "|---|---|---|---|")
    yield from (
        _row(each.name, ", ".join(each.dims) or "none", f"`{each.unit}`" if each.unit else "", each.about)
        for each in about.variables
    )
    sizes = ", ".join(f"{name} {size or 'varies'}" for name, size in about.sizes.items())
    yield from ("", f"Sizes: {sizes}. A sample is one of: {about.samples or 'none'}.", "")
    yield f"Version {about.version}. Licence: {about.licence}. Home: {about.home_page}"
    if about.citation != "-":
        yield from ("", f"Cite: {about.citation}.")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _legal(argument: Argument) -> str:
    return f"{argument.legal}{', several' if argument.many else ''}"


def _default(argument: Argument) -> str:
    return "required" if argument.required else f"`{argument.default!r}`"


def to_json(about: Description) -> dict[str, Any]:
    """What programs may want to know, without what follows from arguments."""
    arguments: list[JsonValue] = [
        {
            "name": each.name,
            "legal": str(each.legal),
            "default": each.default,
            "required": each.required,
            "several": each.many,
            "about": each.about,
        }
        for each in about.arguments
    ]
    variables = [
        {
            "name": each.name,
            "dims": list(each.dims),
            "unit": each.unit,
            "dtype": each.dtype,
            "about": each.about,
        }
        for each in about.variables
    ]
    return {
        "id": about.id,
        "same_as": about.same_as,
        "title": about.title,
        "about": about.about,
        "version": about.version,
        "arguments": arguments,
        "subsets": {
            label: len(about.requests({**about.minimal, about.subset_argument: label}))
            for label in about.subsets
        },
        "sizes": dict(about.sizes),
        "variables": variables,
        "samples": about.samples,
        "licence": about.licence,
        "home_page": about.home_page,
        "citation": about.citation,
        "stand_ins_only": about.withheld,
    }
