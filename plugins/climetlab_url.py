"""CliMetLab's source `url` through maelio's cache, so that anybody's plugin shares its files with everybody.

Installed as the plugin `url` of CliMetLab, which comes before its own source of that name. It is CliMetLab's own
but where the setting `climetlab` holds (MAELIO_CLIMETLAB=1): then one step of it is ours, the one that finds a
file or downloads it. `url-pattern`, `multi-url` and what plugins build on them load this source.
"""

from typing import Any

from climetlab.sources.url import Url

from maelio.cache.fetch import fetch
from maelio.settings import load_settings

_OWN = ("parts", "http_headers", "fake_headers", "force", "update_if_out_of_date")
"""Arguments that ask for what the cache does not do; `verify=False` is another."""


class CachedUrl(Url):  # type: ignore[misc]  # climetlab ships no types
    """A file that a mirror of CliMetLab has, else one of our cache, fetched where it is in none.

    It stays in the cache until the process ends. Raises what `maelio.cache.fetch` raises.
    """

    def cache_file(self, create: Any, args: Any, **_: Any) -> str:
        mirrored = (connection.get_file(create, args) for connection in self.connect_to_mirrors())
        return next(filter(None, mirrored), None) or str(fetch([self.url])[0])


def url(address: str, *args: Any, **kwargs: Any) -> Url:
    """CliMetLab's source `url`, whose arguments see. Raises BadSetting: the settings cannot be read."""
    ours = load_settings().climetlab and _plain(address, args, kwargs)
    return (CachedUrl if ours else Url)(address, *args, **kwargs)


def _plain(address: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the whole file is asked for, as it is for everybody, and not in spite of what is there."""
    return (
        address.startswith(("http://", "https://"))
        and not args
        and not any(kwargs.get(name) for name in _OWN)
        and kwargs.get("verify", True) is True
    )
