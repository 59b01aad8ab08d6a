"""Signed addresses: what in an href gives access, how to leave it out, and how to put it back.

Catalogs sign their files with parameters in the query: Azure's SAS, presigned addresses of S3 and Google, plain tokens.
They expire within the hour and are secrets while they last. So everything that is planned, written or printed has the
unsigned href, and a fetch signs it again when it asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from .errors import FetchError, ItemError
from .named import load_function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pystac import Item

#: From an unsigned href to one that can be fetched now.
type Sign = Callable[[str], str]

_ADDRESS = re.compile(
    r"(?P<start>\s*(?P<scheme>[a-z][a-z0-9+.-]+)://)(?P<host>[^/?#]*)(?P<path>[^?#]*)(\?(?P<query>[^#]*))?(?P<fragment>.*)",
    re.DOTALL | re.IGNORECASE,
)
# Names of parameters, as `_plain` makes them: lower case, without - and _.
_CLOUDS = re.compile(
    r"s[veirtps]|srt|sig|sip|spr|ses|sdd|sk[tesv]|sk(oid|tid|dutid)|s(a|u|du)oid|scid|rsc[cdelt]"  # Azure's SAS
    r"|xamz.*|awsaccesskeyid|signature|expires|keypairid|policy|hashalgorithm"  # S3, CloudFront
    r"|xgoog.*|googleaccessid"
)
_OTHERS = re.compile(
    r".*(token|password|secret|signature|credentials?|apikey|accesskey|accesskeyid|secretkey|subscriptionkey)"
    r"|key|auth|authorization|bearer|jwt|sas|pass|passwd|pwd|session|sessionid"
)


def unsigned(href: str) -> str:
    """The href without the parts of its query that sign it or give access, and without a user's name and password.

    What else is there stays as it is, in order; a path of this machine is returned unchanged.
    """
    return _without(href, _CLOUDS, _OTHERS)


def signed_by(items: Iterable[Item]) -> Sign | None:
    """A function that signs hrefs as these items' own hrefs are signed; None where none of them is.

    An href that no item has is returned as it came. Raises ItemError where two hrefs differ in nothing but a parameter
    that looks like a secret, such as ``key``, and so may be two files.
    """
    signed: dict[str, str] = {}
    for item in items:
        for asset in item.assets.values():
            href = asset.get_absolute_href() or asset.href
            bare = unsigned(href)
            if bare == href:
                continue
            other = signed.get(bare, href)
            if _without(href, _CLOUDS) != _without(other, _CLOUDS):
                raise ItemError(
                    f"item {item.id}: two addresses differ only in what gives access to {bare}; if they are two files, "
                    "sign them with a function of your own"
                )
            signed[bare] = href
    return SignedAs(signed) if signed else None


@dataclass(frozen=True, slots=True)
class SignedAs:
    """Signs hrefs as they were given once. It pickles, with the signatures: send it where those may go."""

    signed: Mapping[str, str] = field(repr=False)
    """By unsigned href."""

    def __call__(self, href: str) -> str:
        """The href as it was given; as it is where it was not."""
        return self.signed.get(href, href)


def load_signer(text: str) -> Sign:
    """The function that ``module:function`` names, such as ``planetary_computer:sign_url``.

    Raises FetchError where there is none.
    """
    try:
        return load_function(text)
    except ValueError as error:
        raise FetchError(f"{text!r} names no function that signs; write MODULE:FUNCTION") from error
    except ImportError as error:
        raise FetchError(f"cannot sign with {text}: {error}; install what has it") from error


def _without(href: str, *secrets: re.Pattern[str]) -> str:
    """The href without user and password, and without parameters whose names match one of the patterns."""
    match = _ADDRESS.fullmatch(href)
    if match is None or match["scheme"].lower() == "file":
        return href
    host, query = match["host"], match["query"]
    user, _, bare_host = host.rpartition("@")
    if ":" in user or match["scheme"].lower() in ("http", "https"):  # abfs://container@account names no user
        host = bare_host
    parts = (query or "").split("&")
    kept = [
        part
        for part in parts
        if not any(name.fullmatch(_plain(piece)) for piece in part.split(";") for name in secrets)
    ]
    if kept != parts:
        query = "&".join(kept) or None
    rest = "" if query is None else f"?{query}"
    return f"{match['start']}{host}{match['path']}{rest}{match['fragment']}"


def _plain(parameter: str) -> str:
    """The name of a parameter, in lower case and without what joins its words."""
    return re.sub(r"[-_.\s]", "", unquote_plus(parameter.partition("=")[0]).lower())
