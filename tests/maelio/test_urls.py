"""URLs: one key for one thing, and no secret told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.urls import canonical, key_of, public, suffix_of

names = st.text("abcXYZ09-._~%", min_size=1, max_size=8)
hosts = st.text("abc", min_size=1, max_size=5)
queries = st.dictionaries(st.text("abc", min_size=1, max_size=3), names, max_size=3)


@given(st.sampled_from(["http", "https"]), hosts, st.lists(names, max_size=3), queries)
def test_spellings_that_a_server_cannot_tell_apart_have_one_key(
    scheme: str, host: str, path: list[str], query: dict[str, str]
) -> None:
    """And the canonical spelling is its own."""
    rest = "/".join(("", *path)) + "?" * bool(query) + "&".join(f"{k}={v}" for k, v in query.items())
    port = {"http": 80, "https": 443}[scheme]
    plain, odd = f"{scheme}://{host}{rest}", f"{scheme.upper()}://{host.upper()}:{port}{rest}#part"
    assert key_of(plain) == key_of(odd)
    assert canonical(canonical(odd)) == canonical(plain)


@pytest.mark.parametrize(
    "other",
    [
        "http://h/a.nc?v=2",
        "http://h/A.nc?v=1",
        "https://h/a.nc?v=1",
        "http://h:8080/a.nc?v=1",
        "http://u@h/a.nc?v=1",
    ],
)
def test_what_a_server_can_tell_apart_has_another_key(other: str) -> None:
    """The query counts, and so does who asks."""
    assert key_of(other) != key_of("http://h/a.nc?v=1")


def test_only_http_has_one_spelling() -> None:
    """A key of a bucket may hold what looks like a fragment."""
    assert canonical("s3://bucket/A#1") == "s3://bucket/A#1"
    assert canonical("zip://A.nc::HTTP://h/#1") == "zip://A.nc::HTTP://h/#1"


def test_secrets_are_not_shown() -> None:
    shown = public("https://user:word@host/a.nc?X-Amz-Signature=abc&v=1")
    assert shown == "https://host/a.nc?X-Amz-Signature=...&v=1"


@pytest.mark.parametrize(
    ("url", "suffix"),
    [
        ("http://h/a/t2m.nc", ".nc"),
        ("http://h/t2m.nc?v=1.2", ".nc"),
        ("s3://b/all.tar.gz", ".tar.gz"),
        ("http://h.org/a.b/file", ""),
        ("zip://a.grib::http://h/all.zip", ".grib"),
        ("http://h/a.$(rm)", ""),
    ],
)
def test_readers_know_a_file_by_its_suffix(url: str, suffix: str) -> None:
    assert suffix_of(url) == suffix
