"""A manifest as Parquet: how it lies there, and what is refused."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import MANIFEST, READS, SIGNED, many, of

from geomask.cog.level import ByteRange
from geomask.errors import ManifestError
from geomask.plan.columns import manifest_schema
from geomask.plan.manifest import Manifest
from geomask.plan.parquet import GROUP, KEY


def test_a_parquet_file_has_the_columns_of_json_lines(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    rows = [json.loads(line) for line in MANIFEST.lines()][1:]
    assert table.column_names == list(rows[0])
    for row, wanted in zip(table.to_pylist(), rows, strict=True):
        row["window"] = list(row["window"].values())
        row["ranges"] = [list(piece.values()) for piece in row["ranges"]]
        assert row == wanted


def test_a_parquet_file_is_compressed_and_encoded_as_promised(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "a.parquet")
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    columns = {group.column(at).path_in_schema: group.column(at) for at in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    delta = {path for path, column in columns.items() if "DELTA_BINARY_PACKED" in column.encodings}
    assert delta == {
        *("chip", "nbytes", "window.row_off", "window.col_off", "window.height", "window.width"),
        *("ranges.list.element.offset", "ranges.list.element.length", "ranges.list.element.whole"),
    }
    assert all(column.has_dictionary_page for path, column in columns.items() if path not in delta)


def test_a_reader_of_one_item_reads_the_groups_of_that_item_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geomask.plan.parquet.GROUP", 4)
    sources = [replace(SIGNED, item=f"item {number}", href=f"/{number}") for number in range(4)]
    manifest = many(sources, 6)
    manifest.save(tmp_path / "a.parquet")
    read, real = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda file, at: read.append(at) or real(file, at))
    assert Manifest.load(tmp_path / "a.parquet", item="item 2").requests == manifest.requests[12:18]
    assert read == [3, 4]
    read.clear()
    assert Manifest.load(tmp_path / "a.parquet") == manifest
    assert read == list(range(6))


def test_groups_have_their_own_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary of all texts in each group would make the file grow with the square of the plan."""
    monkeypatch.setattr("geomask.plan.parquet.GROUP", 2)
    many([replace(SIGNED, href=f"/{number}", item=f"item {number}") for number in range(8)], 2).save(
        tmp_path / "a.parquet"
    )
    file = pq.ParquetFile(tmp_path / "a.parquet")
    for number in range(8):
        column = file.read_row_group(number).column("href")
        assert column.unify_dictionaries().chunk(0).dictionary.to_pylist() == [f"/{number}"]
    assert GROUP >= 1 << 16


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table], **metadata: bytes) -> None:
    """Change the rows of a manifest, and its metadata, behind its back."""
    file = pq.ParquetFile(path)
    header = {KEY: file.metadata.metadata[KEY], **{name.encode(): value for name, value in metadata.items()}}
    table = change(file.read())
    file.close()
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.add_key_value_metadata(header)
        writer.write_table(table)


def with_values(name: str, values: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        at, field = table.column_names.index(name), manifest_schema().field(name)
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        column = pa.array(values, kind)
        return table.set_column(at, field, column.dictionary_encode() if kind != field.type else column)

    return change


def ranges(*triples: tuple[int, int, int]) -> list[dict[str, int]]:
    return [dict(zip(("offset", "length", "whole"), triple, strict=True)) for triple in triples]


def window(*numbers: int) -> dict[str, int]:
    return dict(zip(("row_off", "col_off", "height", "width"), numbers, strict=True))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("chip", [0, 0, 2, 0], "row 2: chip 2 of 2"),
        ("window", [window(0, 0, 1, 1)] * 3 + [window(0, -1, 1, 1)], "row 3: window .* begins before 0"),
        ("window", [window(0, 0, 1, 1)] * 3 + [window(0, 2**62, 1, 1)], "row 3: window .* reaches over"),
        ("ranges", [ranges((700, 300, 299)), [], [], []], "row 0: the bytes .* do not add up"),
        ("ranges", [ranges((700, 300, 2**63 - 1)), [], [], []], "row 0: the bytes .* do not add up"),
        ("ranges", [ranges((2**63 - 1, 300, 300)), [], [], []], "row 0: the bytes .* do not add up"),
        ("nbytes", [300, 200, 201, 0], "row 2: the bytes .* do not add up"),
        ("ranges", [ranges((700, 300, 300)), ranges((700, 200, 200)), ranges((700, 200, 200)), []], None),
        ("why", ["strips", "strips", None, "jp2"], "row 0: GDAL reads .* no range does"),
        ("channels", [[0], [0], [7], [2]], "row 2: .* fills channel 7 of 4"),
        ("bands", [["B02"], ["B03"], ["B03"], ["B02"]], "row 1: .* fills channel 0 with 2020-01/B03"),
        ("indexes", [[1], [1], [0], [1]], "row 2: .* count from 1"),
        ("scales", [[1.0], [1.0], [float("inf")], [1.0]], "row 2: .* not finite"),
        ("offsets", [[1.0], [1.0], [], [1.0]], "row 2: bands, channels, .* entries"),
        ("level", [-1, 0, 0, 0], "row 0: level of .* is -1"),
        ("size", [5000, 5001, 900, 7000], "row 1: the requests of .* differ in the file's size"),
        ("size", [2**63 - 1] * 4, "row 0: .* cannot have a header"),
        ("header_nbytes", [600, 600, -1, 0], "row 2: .* cannot have a header of -1"),
        ("dtype", ["uint16", "uint16", "u2", "uint16"], "row 2: dtype of .*"),
        ("href", ["", "", "/b", "/c"], "row 0: item tiny has an empty href"),
    ],
)
def test_a_broken_column_is_refused_with_its_row(
    name: str, values: list[Any], message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    MANIFEST.save(path)
    rewrite(path, with_values(name, values))
    if message is None:
        assert Manifest.load(path).requests[0].ranges == (ByteRange(700, 300),)
        return
    with pytest.raises(ManifestError, match=rf"a\.parquet: {message}"):
        Manifest.load(path)


def test_rows_of_one_item_are_named_as_they_stand_in_the_file(tmp_path: Path) -> None:
    of(*READS, *READS).save(tmp_path / "a.parquet")
    rewrite(tmp_path / "a.parquet", with_values("chip", [0, 0, 0, 0, 0, 0, 0, 5]))
    with pytest.raises(ManifestError, match="row 7: chip 5 of 2"):
        Manifest.load(tmp_path / "a.parquet", item="other")


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["why"]),
        lambda table: table.append_column("colour", pa.array(["red"] * 4)),
        lambda table: table.set_column(9, "chip", pa.array([0, 0, 0, 0], pa.int32())),
        lambda table: table.set_column(9, "chip", pa.array([0, None, 0, 0])),
        lambda table: table.select(table.column_names[::-1]),
    ],
)
def test_columns_of_another_kind_are_refused(change: Callable[[pa.Table], pa.Table], tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "a.parquet")
    rewrite(tmp_path / "a.parquet", change)
    with pytest.raises(ManifestError, match=r"a\.parquet: the columns are not item, .*, why of a manifest"):
        Manifest.load(tmp_path / "a.parquet")


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match=r"a\.parquet: this is no geomask manifest"):
        Manifest.load(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "no JSON"),
        (b"\xff", "the header is no Unicode"),
        (b"[]", "this is no geomask manifest"),
        (b'{"geomask": "manifest", "version": 1}', "a manifest of version 1; .* compile it anew"),
    ],
)
def test_a_broken_header_is_refused(header: bytes, message: str, tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "a.parquet")
    rewrite(tmp_path / "a.parquet", lambda table: table, geomask=header)
    with pytest.raises(ManifestError, match=rf"a\.parquet: {message}"):
        Manifest.load(tmp_path / "a.parquet")


@given(st.binary(max_size=40), st.integers(0, 2000))
@settings(deadline=None, max_examples=100)
def test_hostile_metadata_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.parquet"
    MANIFEST.save(path)
    header = pq.read_metadata(path).metadata[KEY]
    noisy = header[:at] + noise + header[at + len(noise) :]
    rewrite(path, lambda table: table, geomask=noisy)
    try:
        loaded = Manifest.load(path)
    except ManifestError:
        return
    assert loaded.requests == MANIFEST.requests


def test_a_parquet_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    for end in (0, 3, 4, 11, 100, len(data) // 2, len(data) - 9, len(data) - 1):
        (tmp_path / "a.parquet").write_bytes(data[:end])
        with pytest.raises(ManifestError, match=r"a\.parquet: this is no Parquet, or it is damaged: "):
            Manifest.load(tmp_path / "a.parquet")


def test_a_page_that_was_changed_is_refused(tmp_path: Path) -> None:
    """Its checksum does not hold: else a byte range could be another one, and nobody would know."""
    MANIFEST.save(tmp_path / "a.parquet")
    sound = (tmp_path / "a.parquet").read_bytes()
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    chance = random.Random(0)
    for at in range(group.num_columns):
        column = group.column(at)
        data = bytearray(sound)
        end = column.data_page_offset + column.total_compressed_size
        if column.has_dictionary_page:
            end = column.dictionary_page_offset + column.total_compressed_size
        data[end - 1 - chance.randrange(3)] ^= 1 << chance.randrange(8)
        (tmp_path / "a.parquet").write_bytes(data)
        with pytest.raises(ManifestError, match="this is no Parquet, or it is damaged"):
            Manifest.load(tmp_path / "a.parquet")


def test_parquet_is_small_and_its_columns_are_arrays(tmp_path: Path) -> None:
    manifest = many([replace(SIGNED, href=f"/{number}") for number in range(20)], 100)
    for form in ("jsonl", "parquet"):
        manifest.save(tmp_path / f"a.{form}")
    sizes = {form: (tmp_path / f"a.{form}").stat().st_size for form in ("jsonl", "parquet")}
    assert sizes["parquet"] < sizes["jsonl"] / 40
    loaded = Manifest.load(tmp_path / "a.parquet").requests
    arrays = (loaded.source, loaded.chip, loaded.windows, *(getattr(loaded.tiles, n) for n in ("starts", "lengths")))
    assert {array.dtype for array in arrays} == {np.dtype("int64")}
