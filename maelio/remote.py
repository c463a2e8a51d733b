"""What is behind a URL: opened by fsspec, with whatever credentials it finds; its failures in our words."""

from collections.abc import Iterable
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.config import conf
from fsspec.core import url_to_fs

from maelio.errors import BadRequest, MaelioError, Missing, NotFound, NotPermitted
from maelio.urls import public

IDLE_S = 60.0  # a server that sends nothing for so long has failed


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and the name within it. Nothing is asked for yet.

    Raises:
        BadRequest: nothing known reads such a URL. Missing: a package that does is not installed.
        MaelioError: whatever the file system says.
    """
    try:
        raw, path = url_to_fs(url, **_settings(url))
    except ImportError as error:
        raise Missing(f"{public(url)} cannot be read: {error}") from error
    except Exception as error:
        if str(error).startswith("Protocol not known"):
            raise BadRequest(f"{public(url)}: {error}") from error
        raise failure(url, error) from error
    return raw, path


def _settings(url: str) -> dict[str, Any]:
    """For HTTP no limit of time as a whole, which would end every long download, but one for silence."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=IDLE_S, sock_read=IDLE_S)
    return {
        protocol: {"client_kwargs": {"timeout": timeout} | conf.get(protocol, {}).get("client_kwargs", {})}
        for protocol in ("http", "https")
        if f"{protocol}://" in url
    }


def failure(url: str, error: BaseException, part: str = "") -> MaelioError:
    """What a file system raised, as what the user can do about it; file systems raise whatever they like.

    `part`: of what is behind the URL.
    """
    name = f"{public(url)}{part and f': {part}'}"
    causes = list(_causes(error))
    root = causes[-1]
    status = getattr(root, "status", None)
    if status in (401, 403) or isinstance(root, PermissionError):
        return NotPermitted(f"{name} may not be read{f': status {status}' if status else ''}")
    if status in (404, 410) or isinstance(root, FileNotFoundError):
        return NotFound(f"{name}: no such file")
    if isinstance(status, int):
        return MaelioError(f"{name}: the server answers with status {status}")
    told = next(each for each in causes if not isinstance(each, FileNotFoundError))  # which HTTP says of all
    text = getattr(told, "strerror", None) or str(told).partition("\n")[0] or type(told).__name__
    return MaelioError(f"{name} cannot be fetched: {text}")


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
