"""From an href to the store that holds its file, and the path in it: HTTP, S3, GCS, Azure and this machine's disk.

Buckets are opened with what users have in their environment. obstore reads most of it by itself; the words that only
GDAL and the AWS tools know are added here.
"""

from __future__ import annotations

import base64
import os
import posixpath
from configparser import ConfigParser
from configparser import Error as ConfigError
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .errors import FetchError
from .signing import unsigned

#: What to set where a bucket is opened without credentials, by scheme.
_HINTS = {
    "s3": "set AWS_NO_SIGN_REQUEST=YES for a public bucket, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "set GS_NO_SIGN_REQUEST=YES for a public bucket, or GOOGLE_APPLICATION_CREDENTIALS",
    "az": "set AZURE_NO_SIGN_REQUEST=YES for a public container, or AZURE_STORAGE_SAS_TOKEN or another key",
}
_CLOUDS = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "azure": "az", "adl": "az", "abfs": "az", "abfss": "az"}
_PREFIXES = ("AWS_", "GOOGLE_", "GS_", "AZURE_")

# Plain http is for servers on this machine and inside a cluster. Retries and the end of waiting are ours: obstore
# allows a whole answer 30 s, in which a slow line does not carry a large one.
_CLIENT = {"allow_http": True, "timeout": "1day"}
_OPTIONS: dict[str, Any] = {"client_options": _CLIENT, "retry_config": {"max_retries": 0}}


def locate(href: str) -> tuple[Any, str]:
    """The obstore store of an href, which may be signed, and the path in it.

    Raises FetchError for what obstore does not know and for a bucket that cannot be opened.
    """
    try:
        parts = urlsplit(unsigned(href))  # first: the message of a wrong one quotes it
        _ = parts.port  # checked when it is asked for
    except ValueError as error:
        raise FetchError(f"{unsigned(href)!r} is no address of a file: {error}") from None
    if len(parts.scheme) < 2:  # a path; one letter is a Windows drive
        return _local(), _resolved(href)
    if parts.scheme == "file":
        return _local(), _resolved(unquote(parts.path))
    if parts.scheme in _CLOUDS:
        # A key is taken as it is written, as rasterio and the AWS tools do, with a % or a ? in it.
        key = href.partition("://")[2].partition("/")[2]
        if not key:
            raise FetchError(f"{unsigned(href)} names a bucket and no file in it")
        return _bucket(parts.scheme, parts.netloc, _surroundings()), key
    signed = urlsplit(href)
    return (
        _web_server(parts.scheme, signed.netloc, signed.query),
        unquote(posixpath.normpath(parts.path)).lstrip("/"),
    )


def no_credentials(href: str) -> str:
    """What to tell a user whose bucket asked for credentials where there are none."""
    parts = urlsplit(unsigned(href))
    return f"no credentials for {parts.scheme}://{parts.netloc}; {_HINTS[_CLOUDS[parts.scheme]]}"


def _resolved(path: str) -> str:
    """As obstore wants it: from the root, without ``..``."""
    try:
        return Path(path).resolve().as_posix().lstrip("/")
    except ValueError as error:  # a NUL
        raise FetchError(f"{path!r} is no address of a file: {error}") from error


@lru_cache(maxsize=1)
def _local() -> Any:
    from obstore.store import LocalStore

    return LocalStore("/")


@lru_cache(maxsize=256)  # the query of a presigned address is another one for each file; a store takes 0.1 MB
def _web_server(scheme: str, netloc: str, query: str) -> Any:
    """The store of a host. Its address has the query, which goes with every request."""
    from obstore.exceptions import BaseError
    from obstore.store import HTTPStore

    if scheme not in ("http", "https"):
        known = ", ".join(["http", "https", "file", *_CLOUDS])
        raise FetchError(f"addresses that begin with {scheme}:// cannot be read; those known are {known}")
    user, _, host = netloc.rpartition("@")
    headers = {"Authorization": f"Basic {base64.b64encode(unquote(user).encode()).decode()}"} if user else {}
    options = _OPTIONS | {"client_options": _CLIENT | {"default_headers": headers}}
    try:
        # obstore.store.from_url takes the plain address of a bucket for its API, and asks for credentials.
        return HTTPStore.from_url(f"{scheme}://{host}" + (f"/?{query}" if query else ""), **options)
    except (BaseError, ValueError):  # its message quotes the query
        raise FetchError(f"{scheme}://{host} is no address of a server") from None


@lru_cache(maxsize=64)
def _bucket(scheme: str, netloc: str, surroundings: tuple[tuple[str, str], ...]) -> Any:
    """The store of a bucket, opened anew where what the environment says of credentials has changed."""
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    words = {"s3": _amazon, "gs": _google, "az": _azure}[_CLOUDS[scheme]]
    try:
        return from_url(f"{scheme}://{netloc}", **_OPTIONS, **words(netloc, dict(surroundings)))
    except (BaseError, ValueError) as error:
        raise FetchError(f"{scheme}://{netloc} cannot be opened: {str(error).strip().splitlines()[0]}") from error


def _surroundings() -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith(_PREFIXES)))


def _is_on(value: str | None, default: bool = False) -> bool:
    """Whether a variable says yes, as GDAL takes it."""
    return default if not value else value.upper() not in ("NO", "FALSE", "OFF", "0")


def _amazon(bucket: str, given: dict[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    endpoint = given.get("AWS_S3_ENDPOINT")
    if endpoint and not given.keys() & {"AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"}:
        scheme = "https" if _is_on(given.get("AWS_HTTPS"), default=True) else "http"
        host = endpoint.rpartition("://")[2].rstrip("/")
        if virtual := _is_on(given.get("AWS_VIRTUAL_HOSTING")):
            host = f"{bucket}.{host}"
        options |= {"endpoint": f"{scheme}://{host}", "virtual_hosted_style_request": virtual}
    if given.get("AWS_REQUEST_PAYER", "").lower() == "requester":  # obstore 0.8 does not know the word
        options["request_payer"] = True
    if _is_on(given.get("AWS_NO_SIGN_REQUEST")):
        return options | {"skip_signature": True}
    profile = _profile(given)
    if given.keys() & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
        profile.pop("region", None)
    if given.keys() & {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"}:
        profile = {name: value for name, value in profile.items() if name == "region"}
    return options | profile


def _profile(given: dict[str, str]) -> dict[str, str]:
    """Region and keys of the user's profile in the files of the AWS tools, as obstore calls them; {} without files."""
    folder = Path.home() / ".aws"
    name = given.get("AWS_PROFILE") or given.get("AWS_DEFAULT_PROFILE") or "default"
    files = {
        given.get("AWS_CONFIG_FILE", folder / "config"): name if name == "default" else f"profile {name}",
        given.get("AWS_SHARED_CREDENTIALS_FILE", folder / "credentials"): name,
    }
    found: dict[str, str] = {}
    for file, section in files.items():
        parser = ConfigParser(interpolation=None, default_section="", strict=False)
        try:
            parser.read(file)  # one that is not there is skipped
        except ConfigError as error:  # it quotes the line
            raise FetchError(f"{file} is broken: {error.message.splitlines()[0]}") from None
        found |= parser[section] if parser.has_section(section) else {}
    wanted = {
        "region": "region",
        "aws_access_key_id": "access_key_id",
        "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token",
    }
    return {wanted[key]: value for key, value in found.items() if key in wanted}


def _google(_: str, given: dict[str, str]) -> dict[str, Any]:
    return {"skip_signature": True} if _is_on(given.get("GS_NO_SIGN_REQUEST")) else {}


def _azure(container: str, given: dict[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if "@" not in container and "AZURE_STORAGE_ACCOUNT" in given and "AZURE_STORAGE_ACCOUNT_NAME" not in given:
        options["account_name"] = given["AZURE_STORAGE_ACCOUNT"]  # one in the address comes first
    if _is_on(given.get("AZURE_NO_SIGN_REQUEST")):
        options["skip_signature"] = True
    return options
