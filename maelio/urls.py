"""URLs: what of one may be shown, and by what it is known in a cache."""

import hashlib
import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from maelio.errors import BadRequest

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*(://|::)")
_LOCAL = re.compile(r"(file|local)://")
_SECRET = re.compile(r"signature|token|key|secret|credential|password|^sig$", re.IGNORECASE)
_PORTS = {"http": ":80", "https": ":443"}
_SUFFIX = re.compile(r"(\.tar)?\.[A-Za-z0-9]{1,10}$")


def local_name(text: str) -> str | None:
    """The path that a text names, with `file://` or without; None where it is a URL of something else."""
    if local := _LOCAL.match(text):
        return text[local.end() :]
    return None if _URL.match(text) else text


def public(url: str) -> str:
    """A URL without user, password and keys: what may stand in messages and in a store."""
    return "::".join(map(_public, url.split("::")))


def _public(url: str) -> str:
    parts = urlsplit(url)
    if not parts.scheme or not (parts.netloc or parts.query):
        return url
    host = parts.netloc.rpartition("@")[2]
    query = parts.query
    if any(_SECRET.search(name) for name, _ in parse_qsl(query)):
        query = urlencode(
            [(name, "..." if _SECRET.search(name) else value) for name, value in parse_qsl(query)], safe="."
        )
    return f"{parts.scheme}://{host}{parts.path}{'?' if query else ''}{query}"


def canonical(url: str) -> str:
    """One spelling of all that a server cannot tell apart, its query included: `HTTP://Host:80#top` is `http://host/`.

    Only HTTP is touched: what is behind another scheme may tell `#` and capitals apart. Source: RFC 9110, section 4.2.3.
    Raises BadRequest: it cannot be read.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadRequest(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in _PORTS or "::" in url:
        return url
    user, at, host = parts.netloc.rpartition("@")
    host = host.lower().removesuffix(_PORTS[parts.scheme])
    return urlunsplit((parts.scheme, f"{user}{at}{host}", parts.path or "/", parts.query, ""))


def key_of(url: str) -> str:
    """64 hexadecimal digits that stand for the URL, secrets and all, and do not tell them."""
    return hashlib.sha256(canonical(url).encode()).hexdigest()


def suffix_of(url: str) -> str:
    """`.nc`, `.tar.gz`, or nothing: by which readers know a file."""
    link = url.partition("::")[0]
    found = _SUFFIX.search(urlsplit(link).path if link.startswith(tuple(_PORTS)) else link)
    return found[0] if found else ""
