"""Headers in a Parquet file: what is saved is loaded, and what is loaded is checked."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.shutil
from cogs import write_cog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geomask.cog.headers import HeaderRow, load_rows, save_rows
from geomask.cog.index import HeaderIndex, index_headers
from geomask.cog.layout import Layout
from geomask.cog.level import Level
from geomask.errors import ItemError, LayoutError

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cog_S2A_29RKH"


@pytest.fixture(scope="module")
def hrefs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of all kinds: the last but one has its overviews beside it, GDAL alone knows the last."""
    folder = tmp_path_factory.mktemp("headers")
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "large": {"height": 1400, "width": 1000, "block": 16, "dtype": "uint8", "compress": "none"},
        "big": {"bigtiff": True, "bands": 3, "interleave": "tile"},
        "big-endian": {"driver": "GTiff", "ENDIANNESS": "BIG"},
        "jpeg": {"dtype": "uint8", "bands": 3, "interleave": "pixel", "compress": "jpeg", "nodata": None},
        "float": {"dtype": "float32", "predictor": 3, "nodata": float("nan")},
        "strips": {"driver": "GTiff", "tiled": False, "blockysize": 16},
        "alpha": {"driver": "GTiff", "bands": 2, "nodata": None, "dtype": "uint8", "ALPHA": "YES"},
    }
    paths = [write_cog(folder / f"{name}.tif", **options) for name, options in kinds.items()]
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        paths.append(write_cog(folder / "masked.tif", driver="GTiff", nodata=None, overviews=False))
        with rasterio.open(paths[-1], "r+") as dataset:
            dataset.write_mask(np.eye(100, 90) > 0)
            dataset.build_overviews([2])
            dataset.scales, dataset.offsets = [0.5], [-3.0]
    paths.append(write_cog(folder / "beside.tif", overviews=False))
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(paths[-1], "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.build_overviews([2, 4])
    rasterio.shutil.copy(paths[0], folder / "lossless.jp2", driver="JP2OpenJPEG", REVERSIBLE="YES", QUALITY="100")
    return [str(path) for path in (*paths, folder / "lossless.jp2")]


def level_facts(level: Level) -> list[Any]:
    sizes = [level.height, level.width, level.tile_height, level.tile_width, level.compression, level.row_nbytes]
    tables = [level.offsets.shape, level.offsets.tolist(), level.lengths.tolist(), str(level.offsets.dtype)]
    return [sizes, tables, level.tags, level.mask and level_facts(level.mask)]


def facts(layout: Layout) -> dict[str, Any]:
    """All fields, in a form that compares."""
    values = {name: getattr(layout, name) for name in Layout.__slots__}
    header = layout.header[: layout.header_end]
    return {**values, "header": header, "nodata": str(layout.nodata), "levels": list(map(level_facts, layout.levels))}


def test_what_is_saved_is_loaded_field_by_field(hrefs: list[str], tmp_path: Path) -> None:
    index = index_headers(hrefs, overviews=hrefs)
    index.save(tmp_path / "headers.parquet")
    loaded = HeaderIndex.load(tmp_path / "headers.parquet")
    assert list(loaded) == list(index) == sorted(hrefs)
    assert (loaded.trips, loaded.seconds, loaded.sign) == ((), 0.0, None)
    for href in hrefs[:-1]:
        assert facts(loaded[href]) == facts(index[href])
        assert len(loaded[href].header) == index[href].header_end
        assert loaded[href] is loaded[href]
    assert index[hrefs[-2]].why == "its overviews are in a file of their own (.ovr)"
    with pytest.raises(ItemError, match=r"GDAL reads .*lossless\.jp2, since it is JPEG 2000"):
        loaded[hrefs[-1]]
    described = index_headers(hrefs, kept=loaded, overviews=hrefs)
    assert facts(described[hrefs[-1]]) == facts(index[hrefs[-1]])
    assert described.trips == ()


def test_a_second_save_writes_the_same_whether_headers_were_parsed_or_not(hrefs: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.parquet" for name in ("first", "second", "third")]
    index_headers(hrefs, overviews=hrefs).save(paths[0])
    loaded = HeaderIndex.load(paths[0])
    loaded.save(paths[1])
    for href in hrefs[:-1]:
        loaded[href]
    loaded.save(paths[2])
    assert load_rows(paths[0]) == load_rows(paths[1]) == load_rows(paths[2])


@pytest.mark.parametrize("path", sorted(REAL.glob("*.tif")) or [REAL / "absent.tif"], ids=lambda path: path.stem)
def test_real_sentinel_2_headers_are_loaded_as_they_were_saved(path: Path, tmp_path: Path) -> None:
    if not path.exists():
        pytest.skip(f"real Sentinel-2 files are not at {REAL}")
    index = index_headers([str(path)])
    index.save(tmp_path / "headers.parquet")
    layout = index[str(path)]
    assert facts(HeaderIndex.load(tmp_path / "headers.parquet")[str(path)]) == facts(layout)
    assert layout.why == ("it is stored in strips, not tiles" if path.stem == "L2A_PVI" else None)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
rows = st.builds(
    HeaderRow,
    href=texts.filter(bool),
    size=st.integers(100, 2**63 - 1),
    etag=st.none() | texts,
    last_modified=st.none() | texts,
    header=st.binary(min_size=1, max_size=100),
    why=st.none() | texts,
    sidecar=st.none() | st.binary(max_size=50),
)


@given(st.lists(rows, max_size=5, unique_by=lambda row: row.href))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_row_is_loaded_as_it_was_saved(tmp_path: Path, rows: list[HeaderRow]) -> None:
    save_rows(rows, tmp_path / "rows.parquet")
    assert load_rows(tmp_path / "rows.parquet") == {row.href: row for row in rows}


def test_the_columns_are_those_that_are_documented(hrefs: list[str], tmp_path: Path) -> None:
    index_headers(hrefs[:1]).save(tmp_path / "headers.parquet")
    schema = pq.read_schema(tmp_path / "headers.parquet")
    assert schema.names == ["href", "size", "etag", "last_modified", "header", "why", "sidecar"]
    assert schema.metadata[b"geomask"] == b"headers"
    assert schema.metadata[b"version"] == b"1"
    assert schema.metadata[b"created_with"].startswith(b"geomask ")


@pytest.fixture(scope="module")
def saved(hrefs: list[str], tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    path = tmp_path_factory.mktemp("saved") / "headers.parquet"
    index_headers(hrefs[:2]).save(path)
    return pq.read_table(path)


def changed(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    number = table.schema.get_field_index(name)
    return table.set_column(number, table.schema.field(number), pa.array(values, table.schema.field(number).type))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace_schema_metadata({}), "written by something else"),
        (lambda t: t.replace_schema_metadata({"geomask": "manifest", "version": "1"}), "written by something else"),
        (lambda t: t.replace_schema_metadata({"geomask": "headers", "version": "2"}), "of version 2, this geomask"),
        (lambda t: t.replace_schema_metadata({"geomask": "headers"}), "of version none, this geomask"),
        (lambda t: t.drop_columns(["etag"]), "its columns are not href, size, etag"),
        (lambda t: t.set_column(1, "size", t["size"].cast(pa.int32())), "of other types"),
        (lambda t: changed(t, "href", ["a", "a"]), "'a' is there twice"),
        (lambda t: changed(t, "href", ["a", ""]), "does not fit ''"),
        (lambda t: changed(t, "size", [5, 5]), "bytes does not fit"),
        (lambda t: changed(t, "size", [-1, -1]), "bytes does not fit"),
        (lambda t: changed(t, "header", [b"", b""]), "neither a header"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(change: Any, message: str, saved: pa.Table, tmp_path: Path) -> None:
    pq.write_table(change(saved), path := tmp_path / "changed.parquet")
    with pytest.raises(LayoutError, match=message) as caught:
        HeaderIndex.load(path)
    assert str(caught.value).startswith(f"{path} is no header index")
    assert str(caught.value).endswith("remove it and index the items anew")


def test_a_value_that_is_missing_is_refused(saved: pa.Table, tmp_path: Path) -> None:
    schema = pa.schema([field.with_nullable(True) for field in saved.schema], saved.schema.metadata)
    table = changed(saved.cast(schema), "size", [None, 5])
    pq.write_table(table, tmp_path / "changed.parquet")
    with pytest.raises(LayoutError, match="is no header index"):
        HeaderIndex.load(tmp_path / "changed.parquet")


def test_a_header_that_was_changed_is_refused_when_it_is_asked_for(saved: pa.Table, tmp_path: Path) -> None:
    pq.write_table(
        changed(saved, "header", [b"II*\0", saved["header"][1].as_py()]), path := tmp_path / "changed.parquet"
    )
    index = HeaderIndex.load(path)
    broken, whole = list(index)
    assert index[whole].why is None
    with pytest.raises(LayoutError):
        index[broken]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"<html>" * 100])
def test_what_is_no_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(LayoutError, match=r"a\.parquet is no header index"):
        HeaderIndex.load(tmp_path / "a.parquet")


@given(st.data())
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_with_wrong_bytes_is_loaded_or_refused(saved: pa.Table, tmp_path: Path, data: st.DataObject) -> None:
    save_rows((HeaderRow(*row.values()) for row in saved.to_pylist()), path := tmp_path / "a.parquet")
    content, whole = bytearray(path.read_bytes()), set(load_rows(path).values())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(LayoutError):
        assert set(HeaderIndex.load(path).rows()) <= whole
