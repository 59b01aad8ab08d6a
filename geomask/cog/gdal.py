"""Files that GDAL has to read itself, over the network: those of which no tiles can be cut."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from ..errors import GridError, LayoutError
from ..signing import unsigned
from .layout import Layout
from .level import Level, no_tables
from .meaning import dataset_meaning
from .sidecar import sidecar_href

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rasterio import DatasetReader

    from ..signing import Sign

#: GDAL's virtual file systems for the addresses of clouds.
_CLOUDS = {
    **dict.fromkeys(("s3", "s3a"), "/vsis3"),
    **dict.fromkeys(("gs", "gcs"), "/vsigs"),
    **dict.fromkeys(("az", "azure", "abfs", "abfss", "adl"), "/vsiaz"),
}

#: Formats that GDAL may take a file for. It has others that lead to files elsewhere (VRT): not on the word of a server.
_DRIVERS = ("GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW")

_OPTIONS: dict[str, Any] = {
    # Else GDAL lists the folder and looks for half a dozen files beside this one: 13 requests a window, not 3.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # A server that is busy for a moment is no reason to give up; these requests are GDAL's own, and nobody counts them.
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 0.2,
    # GDAL waits for ever for a server that stops in the middle: under 1 byte/s for so many seconds is a failure.
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
    "GDAL_HTTP_LOW_SPEED_TIME": 30,
    # What is read is not written to: no statistics beside the file, and no look for those of others.
    "GDAL_PAM_ENABLED": False,
}


def gdal_path(href: str, sign: Sign | None = None) -> str:
    """What GDAL opens for an href, signed. Raises LayoutError for an address that it does not know."""
    href = sign(href) if sign else href
    parts = urlsplit(href)
    scheme = parts.scheme.lower()
    if len(scheme) < 2:  # a path; one letter is a Windows drive
        return href
    if scheme == "file":
        return unquote(parts.path)
    if scheme in ("http", "https"):
        address = parts._replace(path=quote(unquote(parts.path)), fragment="").geturl()
        # A query would be taken for options of /vsicurl/, or for a part of the file's name.
        return f"/vsicurl?url={quote(address, safe='')}" if parts.query else f"/vsicurl/{address}"
    if scheme in _CLOUDS:
        bucket, _, key = href.partition("://")[2].partition("/")  # the key as it is written, as obstore is given it
        return f"{_CLOUDS[scheme]}/{bucket.partition('@')[0]}/{key}"
    raise LayoutError(f"GDAL does not know where {unsigned(href)} is; give it a path or a http, s3, gs or az address")


def gdal_env() -> Any:
    """A rasterio.Env whose options let GDAL ask a server for as little as it can, and the same S3 that obstore asks."""
    import rasterio

    return rasterio.Env(**_OPTIONS, **_s3_server())


def _s3_server() -> dict[str, Any]:
    """GDAL's words for the server of S3 that the environment names in words which GDAL does not know."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    url = urlsplit(next(filter(None, map(os.environ.get, names)), ""))
    if not url.netloc:
        return {}
    host = url.netloc + url.path.rstrip("/")
    return {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": url.scheme == "https", "AWS_VIRTUAL_HOSTING": False}


@contextmanager
def open_level(layout: Layout, version: int | None, sign: Sign | None = None) -> Iterator[DatasetReader]:
    """A level of a file, open in GDAL: None is full resolution, 0 the first overview.

    Overviews in a file of their own are opened there: its pixels are the level's, its place on the ground is not.
    Raises LayoutError where there is no such level, or GDAL does not open it.
    """
    layout.level(version)
    if version is None or layout.sidecar is None:
        with _open(layout.href, version, sign) as dataset:
            yield dataset
    else:
        with _open(sidecar_href(layout.href), version - 1 if version else None, sign, True) as dataset:
            yield dataset


@contextmanager
def _open(href: str, version: int | None, sign: Sign | None, is_sidecar: bool = False) -> Iterator[DatasetReader]:
    from rasterio.errors import RasterioError
    from rasterio.io import DatasetReader

    class Placeless(DatasetReader):  # type: ignore[misc]  # rasterio has no types
        """A file of overviews lies nowhere, and rasterio would warn of that."""

        def read_transform(self) -> tuple[float, ...]:
            return (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    options = {} if version is None else {"overview_level": version}
    with gdal_env() as env:
        drivers = [name for name in _DRIVERS if name in env.drivers()]
        path = gdal_path(href, sign)
        try:
            # rasterio.open takes one driver. sharing=False: a handle that threads share is closed by the first of them
            kind = Placeless if is_sidecar else DatasetReader
            dataset = kind(path, driver=drivers, sharing=False, **options)
        except RasterioError as error:
            said = str(error).replace(path, href)  # GDAL names the address as it was signed, and so does its error
            raise LayoutError(f"{href} is nothing that GDAL opens: {said}") from (None if sign else error)
        with dataset:
            yield dataset


def describe(
    href: str, why: str, sign: Sign | None = None, *, size: int, etag: str | None = None, modified: str | None = None
) -> Layout:
    """The layout of a file that no header tells, such as JPEG 2000: real sizes of its levels, no tile tables.

    GDAL asks for what it needs, and remembers it while the process lives; these requests are not counted. Raises
    LayoutError where GDAL does not open it, or it has no CRS, no transform, or complex pixels.
    """
    with _open(href, None, sign) as dataset:
        meaning = _meaning(href, dataset)
        levels = [_level(dataset)]
        versions = range(len(dataset.overviews(1)))
    for version in versions:
        with _open(href, version, sign) as dataset:
            levels.append(_level(dataset))
    return Layout(
        href=href,
        size=size,
        etag=etag,
        modified=modified,
        header=b"",
        header_end=0,
        levels=tuple(levels),
        byteorder="<",
        why=why,
        **meaning,
    )


def _meaning(href: str, dataset: DatasetReader) -> dict[str, Any]:
    if dataset.transform.is_identity:
        raise LayoutError(f"{href} does not say where it lies: it has no transform")
    try:
        return dataset_meaning(dataset)
    except (GridError, LayoutError) as error:
        raise LayoutError(f"{href} {error}") from error


def _level(dataset: DatasetReader) -> Level:
    tile_height, tile_width = dataset.block_shapes[0]
    return Level(dataset.height, dataset.width, tile_height, tile_width, no_tables(), no_tables())
