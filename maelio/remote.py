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
    causes = [*_causes(error)]
    root = causes[-1]
    status = status_of(error)
    if status is not None:
        return answered(name, status)
    if isinstance(root, PermissionError):
        return NotPermitted(f"{name} may not be read")
    if isinstance(root, FileNotFoundError):
        return NotFound(f"{name}: no such file")
    told = next(each for each in causes if not isinstance(each, FileNotFoundError))  # which HTTP says of all
    return MaelioError(f"{name} cannot be fetched: {said(told)}")


def answered(name: str, status: int) -> MaelioError:
    """What a server means by a status that is no success. Source: RFC 9110, section 15."""
    if status in (401, 403):
        return NotPermitted(f"{name} may not be read: status {status}")
    if status in (404, 410):
        return NotFound(f"{name}: no such file, status {status}")
    return MaelioError(f"{name}: the server answers with status {status}")


def status_of(error: BaseException) -> int | None:
    """The status with which a server answered, where that is behind an error."""
    status = getattr([*_causes(error)][-1], "status", None)
    return status if isinstance(status, int) else None


def said(error: BaseException) -> str:
    """The first line of an error, or what kind it is where it says nothing."""
    return str(getattr(error, "strerror", None) or error).partition("\n")[0] or type(error).__name__


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
