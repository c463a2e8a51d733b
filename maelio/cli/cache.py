"""`maelio cache`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maelio.cli.output import AsJson, columns, emit
from maelio.errors import BadData, BadRequest, NotFound
from maelio.files import parse_bytes, show_bytes

if TYPE_CHECKING:
    from maelio.cache.fetch import Cache
    from maelio.cache.health import Damage

cache = typer.Typer(help="Files behind URLs, fetched once.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="DIR", help="This cache alone.", show_default="all that the settings name"
    ),
]


def _caches(folder: Path | None) -> "Cache":
    from dataclasses import replace

    from maelio.cache.fetch import Cache
    from maelio.cache.tier import Tier
    from maelio.settings import load_settings

    caches = Cache.of(load_settings())
    return caches if folder is None else replace(caches, tiers=(Tier(folder),))


@cache.command("ls")
def list_files(folder: Folder = None, as_json: AsJson = False) -> None:
    """List what is cached, the longest unused first."""
    found = [
        (tier, ref, datetime.fromtimestamp(used, UTC).isoformat(timespec="seconds"))
        for tier in _caches(folder).tiers
        for _, ref, used in sorted(tier.refs(), key=lambda entry: entry[2])
    ]
    if as_json:
        files = [
            {
                "cache": str(tier.folder),
                "url": ref.url,
                "size_bytes": ref.bytes,
                "fetched": ref.fetched,
                "used": used,
                "file": str(tier.object(ref.name)),
            }
            for tier, ref, used in found
        ]
        emit({"files": files})
    elif found:
        typer.echo(
            columns([(show_bytes(ref.bytes), used, str(tier.folder), ref.url) for tier, ref, used in found])
        )


@cache.command()
def verify(folder: Folder = None, as_json: AsJson = False) -> None:
    """Read everything and compare it with its checksums. Exit code 6 where something is damaged."""
    found = _damages(_caches(folder))
    if as_json:
        emit(
            {
                "damages": [
                    {"file": str(each.tier.object(each.name)), "parts": each.parts, "urls": each.urls}
                    for each in found
                ]
            }
        )
    for each in found:
        typer.echo(str(each), err=as_json)
    if found:
        raise typer.Exit(BadData.exit_code)
    if not as_json:
        typer.echo("every file is what was fetched")


def _damages(caches: "Cache") -> "list[Damage]":
    from maelio.cache.health import damages
    from maelio.settings import load_settings

    return [each for tier in caches.tiers for each in damages(tier, load_settings().threads)]


@cache.command()
def repair(folder: Folder = None) -> None:
    """Fetch the damaged parts of files again. What cannot be fetched is removed. Mirrors are left alone."""
    from maelio.cache.health import repair as mend

    caches = _caches(folder)
    found = [each for each in _damages(caches) if not each.tier.fixed]
    lost = mend(caches, found)
    for each in found:
        typer.echo(f"{'removed' if each.name in lost else 'repaired'}: {each}")
    if not found:
        typer.echo("every file is what was fetched")


@cache.command()
def prune(
    limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="What may stay.", show_default="setting cache_limit")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that nobody has open.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="This cache.", show_default="the private one"),
    ] = None,
) -> None:
    """Remove what was unused for longest, until the rest is within the limit. What somebody has open stays."""
    from maelio.cache.room import prune as evict

    caches = _caches(folder)
    most = 0 if everything else caches.budget.limit if limit is None else parse_bytes(limit)
    if most is None:
        raise BadRequest("prune: wanted --limit SIZE or --all, the setting cache_limit is not set")
    if not caches.own.root.exists():
        raise NotFound(f"{caches.own.folder}: there is no cache")
    gone = evict(caches.own, most)
    for each in gone:
        typer.echo(f"{show_bytes(each.bytes)}  {each.name}")
    typer.echo(f"{len(gone)} file(s), {show_bytes(sum(each.bytes for each in gone))} removed")


@cache.command()
def prefetch(
    urls: Annotated[list[str], typer.Argument(metavar="URL", help="URLs, or @FILE with one a line.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="Into this cache.", show_default="the first that takes them"
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask servers for changes of what is there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch files into the cache, those that are not there."""
    from maelio.cache.leases import Lease

    wanted = [url for text in urls for url in _listed(text)]
    with Lease() as lease:
        files = _caches(folder).fetch(wanted, lease=lease, refresh=refresh)
    size = sum(file.stat().st_size for file in files)
    if as_json:
        emit({"files": [{"url": url, "file": str(file)} for url, file in zip(wanted, files, strict=True)]})
    else:
        typer.echo(f"{len(files)} file(s) in the cache, {show_bytes(size)}")


def _listed(text: str) -> list[str]:
    if not text.startswith("@"):
        return [text]
    lines = (line.strip() for line in Path(text[1:]).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]
