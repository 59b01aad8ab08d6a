import io
from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geomask.errors import RunError
from geomask.fetch import Trip
from geomask.grid import Window
from geomask.infer.ledger import (
    FOLDER,
    SUFFIX,
    Entry,
    done_tiles,
    forget_tiles,
    load_entries,
    read_entries,
    read_trips,
    write_entries,
)
from geomask.infer.outbox import Outbox
from geomask.read.receipt import Fallback, Receipt

KINDS = ("tile", "source", "read", "failure", "output")
OF = {
    "str": st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    "int": st.integers(-(1 << 62), 1 << 62),
    "float": st.floats(allow_nan=False),
    "Part": st.sampled_from(["header", "pixels", "rest"]),
    "Stage": st.sampled_from(["preview", "pixels"]),
}


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Any rows, whatever of them is None."""
    said = {"kind": draw(st.sampled_from(KINDS)), "tile": "r00000_c00000"}
    for one in fields(Entry)[2:]:
        said[one.name] = draw(st.none() | OF[str(one.type).partition(" ")[0]])
    return Entry(**said)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Outbox:
    return Outbox(tmp_path_factory.mktemp("a map") / "a b")


@pytest.fixture
def box(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "a b")


def part(tile: str) -> str:
    return f"{FOLDER}{tile}{SUFFIX}"


@settings(max_examples=40)
@given(rows=st.lists(entries(), max_size=6))
def test_what_is_written_is_read_back_equal(rows: list[Entry], shared: Outbox) -> None:
    write_entries(shared, "r00000_c00000", rows)
    table = load_entries(shared, ["r00000_c00000"], KINDS)
    assert [Entry(**row) for row in table.to_pylist()] == rows
    for kind in KINDS:
        wanted = [row for row in rows if row.kind == kind]
        assert [Entry(**row) for row in load_entries(shared, ["r00000_c00000"], [kind]).to_pylist()] == wanted


def test_tiles_come_in_the_order_asked_for_and_their_rows_in_theirs(box: Outbox) -> None:
    for tile in ("a", "b", "c"):
        write_entries(box, tile, [Entry("tile", tile), Entry("read", tile, offset=1), Entry("read", tile, offset=2)])
    table = load_entries(box, ["c", "a"], ["read"])
    assert list(zip(table["tile"].to_pylist(), table["offset"].to_pylist(), strict=True)) == [
        ("c", 1),
        ("c", 2),
        ("a", 1),
        ("a", 2),
    ]


def test_without_tiles_or_rows_there_is_a_table_all_the_same(box: Outbox) -> None:
    write_entries(box, "a", [])
    for table in (load_entries(box, [], KINDS), load_entries(box, ["a"], KINDS), load_entries(box, ["a"], [])):
        assert table.num_rows == 0
        assert table.column_names == [one.name for one in fields(Entry)]


def test_a_tile_is_done_when_its_part_is_there_and_until_it_is_forgotten(box: Outbox) -> None:
    assert done_tiles(box) == set()
    for tile in ("r00000_c00001", "r00001_c00000"):
        write_entries(box, tile, [Entry("tile", tile)])
    assert done_tiles(box) == {"r00000_c00001", "r00001_c00000"}
    forget_tiles(box, ["r00000_c00001", "r00009_c00009"])
    assert done_tiles(box) == {"r00001_c00000"}


def test_other_files_beside_the_parts_are_no_tiles(box: Outbox) -> None:
    write_entries(box, "r00000_c00001", [])
    box.put("ledger/notes.txt", b"")
    box.put("ledger/.parquet.tmp", b"")
    box.put("tiles/r00000_c00002.parquet", b"")
    box.put("r00000_c00003.parquet", b"")
    (Path(box.place) / "ledger" / "r00000_c00004.parquet#1").write_bytes(b"half, of a killed write")
    assert done_tiles(box) == {"r00000_c00001"}


def test_a_part_that_is_missing_is_an_error_that_names_it(box: Outbox) -> None:
    with pytest.raises(RunError, match=r"a b/ledger/r00000_c00001\.parquet is gone; run again"):
        load_entries(box, ["r00000_c00001"], KINDS)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_part_that_is_broken_is_an_error_that_names_it(data: bytes, box: Outbox) -> None:
    box.put(part("a"), data)
    with pytest.raises(RunError, match=r"a b/ledger/a\.parquet is broken \(.+\); remove it") as caught:
        load_entries(box, ["a"], KINDS)
    assert "\n" not in str(caught.value)


@settings(max_examples=50)
@given(at=st.integers(0, 3000), byte=st.integers(0, 255))
def test_a_part_with_a_wrong_byte_is_read_or_refused(at: int, byte: int, shared: Outbox) -> None:
    """Never another error, nor a crash."""
    write_entries(shared, "a", [Entry("read", "a", href="s3://b/c.tif", offset=offset) for offset in range(5)])
    data = bytearray(shared.get(part("a")) or b"")
    data[at % len(data)] = byte
    shared.put(part("a"), bytes(data))
    try:
        table = load_entries(shared, ["a"], KINDS)
    except RunError as error:
        assert "is broken" in str(error)  # noqa: PT017  # both are right
    else:
        assert table.num_rows <= 5


def test_a_part_of_another_version_is_read_for_what_it_has(box: Outbox) -> None:
    """Columns that came later are None, those that went are left out."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"kind": ["tile"], "tile": ["a"], "nbytes": pa.array([7]), "gone": [1]}), sink)
    box.put(part("a"), sink.getvalue())
    (row,) = load_entries(box, ["a"], ["tile"]).to_pylist()
    assert row == asdict(Entry("tile", "a", nbytes=7))


def test_a_part_of_other_types_is_refused(box: Outbox) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"kind": ["tile"], "tile": ["a"], "nbytes": ["many"]}), sink)
    box.put(part("a"), sink.getvalue())
    with pytest.raises(RunError, match="is broken"):
        load_entries(box, ["a"], ["tile"])


def test_a_failure_says_where_on_the_grid_and_why() -> None:
    said = Entry.failed("a", Window(3, 5, 7, 9), "no such file")
    assert (said.kind, said.tile, said.reason) == ("failure", "a", "no such file")
    assert (said.row_off, said.col_off, said.height, said.width) == (3, 5, 7, 9)


def test_a_trip_is_a_row() -> None:
    trip = Trip("s3://b/c.tif", 100, 50, 2, 7, 0.12345678)
    (said,) = read_trips("a", "header", [trip], "preview")
    assert said == Entry("read", "a", "s3://b/c.tif", 100, 50, 2, 7, 0.123457, part="header", stage="preview")


def test_a_receipt_is_a_row_for_each_trip_and_each_window_that_gdal_read() -> None:
    trips = [Trip("s3://b/c.tif", offset, 5, 1, 0, 0.1) for offset in range(4)]
    receipt = Receipt(9, 3, (trips[0],), (trips[1], trips[2]), (trips[3],), (Fallback("d.jp2", "no tiles", 0.2),), 1.0)
    rows = list(read_entries("a", receipt, "pixels"))
    assert [(row.part, row.offset) for row in rows[:4]] == [("header", 0), ("pixels", 1), ("pixels", 2), ("rest", 3)]
    assert rows[4] == Entry("read", "a", "d.jp2", seconds=0.2, reason="no tiles", stage="pixels")
    assert {(row.kind, row.tile, row.stage) for row in rows} == {("read", "a", "pixels")}
    assert sum(row.nbytes or 0 for row in rows) == receipt.header_nbytes + receipt.pixel_nbytes + 5


def test_any_reader_of_parquet_reads_a_part(box: Outbox) -> None:
    write_entries(box, "a", [Entry("output", "a", href="tiles/a.tif", nbytes=12)])
    schema = pq.read_schema(Path(box.place) / part("a"))
    assert (schema.field("nbytes").type, schema.field("seconds").type) == (pa.int64(), pa.float64())
    assert {str(schema.field(name).type) for name in ("kind", "tile", "href", "etag", "part", "stage")} == {"string"}
