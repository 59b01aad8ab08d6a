"""Lazy chips: the same pixels as an eager read, and only the bytes that are touched."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import entry_points
from itertools import product
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pystac
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from items import write_items

import geomask
from geomask.cog.index import HeaderIndex
from geomask.demo.server import Server
from geomask.errors import FetchError, ManifestError
from geomask.grid import Window
from geomask.plan.compile import compile_manifest, cut_chip
from geomask.plan.manifest import Manifest
from geomask.plan.sources import choose_grid, index_selection
from geomask.read.lazy import GeomaskEngine, read_chip
from geomask.read.reader import read_manifest
from geomask.read.receipt import Receipt
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.slots import Slot, make_slots

BANDS = (
    Band("B02", "B02", 10, scale=0.0001, offset=-0.1),
    Band("B03", "B03", 10, scale=0.0001),
    Band("classes", "SCL", 20, dtype="uint8"),
)
CHANNELS = (Channel(0, 0), Channel(0, 1), Channel(0, 2), Channel(1, 0), Channel(2, 1), Channel(2, 2), Channel(3, 0))
"""Of the fourth slot there is no item; of the others not every band is read."""
CHIPS = (Window(200, 100, 230, 170), Window(-10, -20, 230, 170))
"""The second reaches over the files' edges."""
MODES: list[dict[str, bool]] = [{}, {"masked": False}, {"scaled": True}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """January, February and March; one pixel in eleven of B02 and B03 is nodata."""
    folder = tmp_path_factory.mktemp("served")
    write_items(folder, dates=3, bands=("B02", "B03"), height=600, width=500, block=64, scl=True, holes=True)
    return folder


def items_of(folder: Path, server: Server | None = None) -> list[pystac.Item]:
    """Items a month apart, through the server or from the disk."""
    items = []
    for month, place in enumerate(sorted(folder.iterdir()), 1):
        item = pystac.Item(place.name, None, None, datetime(2020, month, 5, tzinfo=UTC), {})
        for path in sorted(place.iterdir()):
            item.add_asset(path.stem, pystac.Asset(server.href(path) if server else str(path)))
        items.append(item)
    return items


def planned(items: list[pystac.Item], channels: Sequence[Channel] = CHANNELS) -> tuple[Manifest, HeaderIndex]:
    """A plan of both chips on the grid of the 10 m files."""
    slots = make_slots(items)
    april = Slot(slots[-1].end, datetime(2020, 5, 1, tzinfo=UTC), "2020-04")
    selection = Selection((*slots, april), BANDS, tuple(channels))
    index = index_selection(selection, items)
    return compile_manifest(selection, items, index, choose_grid(selection, items, index), CHIPS), index


@pytest.fixture(scope="module")
def local(folder: Path) -> tuple[Manifest, HeaderIndex]:
    return planned(items_of(folder))


@pytest.fixture
def served(folder: Path, server: Server) -> tuple[Manifest, HeaderIndex]:
    """A plan through the server, whose counts start at none."""
    made = planned(items_of(folder, server))
    server.reset()
    return made


def engine(manifest: Manifest, **options: Any) -> xr.Dataset:
    """Lazy without dask."""
    return xr.open_dataset(manifest, engine=GeomaskEngine, cache=False, **options)  # type: ignore[arg-type]


def check_wire(server: Server, receipts: list[Receipt]) -> None:
    """What went over the wire is what the receipts say."""
    log = server.log()
    assert log.requests == sum(receipt.requests for receipt in receipts)
    assert log.nbytes == sum(receipt.nbytes for receipt in receipts)


@pytest.mark.parametrize("chip", [0, 1])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_way_to_read_a_chip_gives_what_the_cube_shows(
    local: tuple[Manifest, HeaderIndex], mode: dict[str, bool], chip: int
) -> None:
    manifest, index = local
    wanted = read_manifest(manifest, index)[0].to_xarray(chip, **mode)
    assert 0 < wanted["valid"].sum() < wanted["valid"].size
    chunkings: list[Any] = [None, {}, "auto", {"y": 50}, {"slot": 2, "band": 1, "x": 33}, {"slot": -1}]
    for chunks in chunkings:
        dataset = read_chip(manifest, chip, index, chunks=chunks, **mode)
        assert bool(dataset.chunks) == (chunks is not None)
        xr.testing.assert_identical(dataset.compute(scheduler="threads"), wanted)
    xr.testing.assert_identical(engine(manifest, chip=chip, index=index, **mode).load(), wanted)
    whole = read_chip(manifest, chip, index, chunks={}, prefixes=False, **mode)
    xr.testing.assert_identical(whole.compute(), wanted)
    xr.testing.assert_identical(read_chip(manifest, chip, prefixes=False, **mode), wanted)


@st.composite
def positions(draw: st.DrawFn, size: int) -> Any:
    """An int, a slice with any step, or positions in any order, some of them twice."""
    at = st.integers(-size, size - 1)
    bound = st.none() | st.integers(-size - 2, size + 2)
    slices = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, 7, -1, -3]))
    # xarray fails on a slice backwards over nothing, whatever the engine
    slices = slices.filter(lambda part: (part.step or 1) > 0 or len(range(size)[part]) > 0)
    return draw(at | slices | st.lists(at, max_size=6).map(lambda found: np.array(found, int)))


@pytest.fixture(scope="module")
def wholes(local: tuple[Manifest, HeaderIndex]) -> dict[tuple[int, int], xr.Dataset]:
    """Each chip in each of the modes, by position."""
    manifest, index = local
    places = product(range(len(CHIPS)), range(len(MODES)))
    return {(chip, mode): read_chip(manifest, chip, index, **MODES[mode]) for chip, mode in places}


@given(data=st.data())
@settings(max_examples=80)
def test_any_part_is_that_part_of_the_whole(
    data: st.DataObject, local: tuple[Manifest, HeaderIndex], wholes: dict[tuple[int, int], xr.Dataset]
) -> None:
    manifest, index = local
    (chip, number), whole = data.draw(st.sampled_from(list(wholes.items())))
    mode = MODES[number]
    lazy = engine(manifest, chip=chip, index=index, **mode)
    names = data.draw(st.sets(st.sampled_from(["slot", "band", "y", "x"])))
    part = {name: data.draw(positions(lazy.sizes[name]), label=name) for name in sorted(names)}
    xr.testing.assert_identical(lazy.isel(part).load(), whole.isel(part))


def test_single_pixels_are_found_pointwise(local: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = local
    rows, cols = xr.DataArray([3, 100, 7], dims="point"), xr.DataArray([160, 0, 8], dims="point")
    wanted = read_chip(manifest, 0, index).isel(y=rows, x=cols)
    xr.testing.assert_identical(engine(manifest, index=index).isel(y=rows, x=cols).load(), wanted)


def test_opening_fetches_nothing_but_the_headers_that_are_not_kept(
    folder: Path, server: Server, served: tuple[Manifest, HeaderIndex]
) -> None:
    manifest, index = served
    part = manifest.part([0])
    for make in (
        lambda **options: read_chip(manifest, chunks={}, **options),
        lambda **options: engine(manifest, **options),
    ):
        receipts: list[Receipt] = []
        make(index=index, receipts=receipts)
        assert server.log().requests == 0
        assert receipts == []
        dataset = make(receipts=receipts)
        (receipt,) = receipts
        assert (receipt.requests, receipt.planned_requests) == (len(part.files), len(part.files))
        assert receipt.nbytes == receipt.planned_nbytes == part.header_nbytes == receipt.header_nbytes
        check_wire(server, receipts)
        dataset["image"].isel(slot=0, y=slice(0, 40)).load()
        dataset["image"].isel(slot=0, y=slice(50, 60)).load()
        assert not any(later.headers for later in receipts[1:])
        check_wire(server, receipts)
        server.reset()


def test_eagerly_all_comes_in_one_read(server: Server, served: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = served
    receipts: list[Receipt] = []
    read_chip(manifest, 1, index, receipts=receipts)
    assert [receipt.nbytes for receipt in receipts] == [manifest.part([1]).pixel_nbytes]
    check_wire(server, receipts)


@pytest.mark.parametrize("chunks", [None, {}])
def test_a_slice_of_rows_fetches_only_its_bytes(
    server: Server, served: tuple[Manifest, HeaderIndex], chunks: dict[str, int] | None
) -> None:
    manifest, index = served
    receipts: list[Receipt] = []
    dataset = engine(manifest, index=index, chunks=chunks, receipts=receipts)
    dataset["image"].isel(y=slice(0, 10)).compute()
    cut = cut_chip(manifest, index, 0, Window(0, 0, 10, 170), range(len(CHANNELS)))
    nbytes = sum(receipt.nbytes for receipt in receipts)
    assert 0 < nbytes == cut.pixel_nbytes < manifest.part([0]).pixel_nbytes / 3
    check_wire(server, receipts)


def test_one_band_of_one_slot_fetches_one_file(server: Server, served: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = served
    dataset = engine(manifest, index=index)
    dataset["image"].sel(slot="2020-03", band="B03").load()
    assert {entry.path for entry in server.log().entries} == {"tiny_20200125/B03.tif"}


def test_what_no_channel_or_no_item_fills_fetches_nothing(server: Server, served: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = served
    dataset = engine(manifest, index=index, masked=False)
    assert dataset.sizes["slot"] == 4
    for empty in (dataset.sel(slot="2020-02", band="B03"), dataset.sel(slot="2020-04"), dataset.isel(x=slice(5, 5))):
        assert not empty["valid"].any()
        assert not empty["image"].any()
    assert server.log().requests == 0


def test_a_chip_beside_all_files_is_all_invalid(local: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = local
    beside = replace(manifest, chips=(Window(5000, 5000, 20, 20),), requests=manifest.requests[:0])
    for chunks in (None, {}):
        dataset = read_chip(beside, 0, index, chunks=chunks).compute()
        assert dict(dataset.sizes) == {"slot": 4, "band": 3, "y": 20, "x": 20}
        assert not dataset["valid"].any()
        assert np.isnan(dataset["image"]).all()


def test_dask_has_a_task_for_each_slot_of_a_variable(local: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = local
    dataset = read_chip(manifest, 0, index, chunks={})
    for variable in dataset.data_vars.values():
        assert variable.chunks == ((1, 1, 1, 1), (3,), (230,), (170,))
        assert variable.data.npartitions == 4
        assert len(dict(variable.__dask_graph__())) == 4 + 1  # and the array that they share


@pytest.mark.parametrize("chunks", [{}, {"slot": 2}, {"y": 100}])
def test_values_and_validity_under_dask_fetch_each_block_once(
    server: Server, served: tuple[Manifest, HeaderIndex], chunks: dict[str, int]
) -> None:
    manifest, index = served
    receipts: list[Receipt] = []
    dataset = read_chip(manifest, 0, index, chunks=chunks, receipts=receipts)
    dask.compute(dataset, scheduler="threads", num_workers=4)
    # of the fourth slot there is no file, so that nothing is fetched
    assert len(receipts) == {"{}": 4, "{'slot': 2}": 2, "{'y': 100}": 12}[str(chunks)]
    spans = [(entry.path, entry.start) for entry in server.log().entries]
    if "y" not in chunks:  # rows of tiles that two chunks share come twice
        assert len(set(spans)) == len(spans)
        assert server.log().nbytes == manifest.part([0]).pixel_nbytes
    check_wire(server, receipts)


def test_values_and_validity_without_dask_come_of_one_read(
    server: Server, served: tuple[Manifest, HeaderIndex]
) -> None:
    manifest, index = served
    receipts: list[Receipt] = []
    part = engine(manifest, index=index, receipts=receipts).isel(slot=[0, 2], y=slice(30, 90))
    part.load()
    assert len(receipts) == 1
    check_wire(server, receipts)


def test_the_same_read_has_the_same_name_in_dask_and_another_one_another(
    folder: Path, local: tuple[Manifest, HeaderIndex]
) -> None:
    manifest, index = local

    def name(chip: int = 0, **options: Any) -> str:
        return str(read_chip(manifest, chip, index, chunks={}, **options)["image"].data.name)

    with dask.config.set({"tokenize.ensure-deterministic": True}):
        assert name() == name(receipts=[])
        others = [name(1), name(scaled=True), name(masked=False), name(prefixes=False)]
    assert len({name(), *others}) == 5


def test_a_lazy_chip_pickles(server: Server, served: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = served
    wanted = read_chip(manifest, 0, index)
    receipts: list[Receipt] = []
    dataset = engine(manifest, index=index, receipts=receipts)
    dataset["image"].isel(slot=0, y=0).load()
    server.reset()
    image, valid = (pickle.loads(pickle.dumps(dataset[name])) for name in ("image", "valid"))
    assert server.log().requests == 0
    xr.testing.assert_identical(image.load(), wanted["image"])
    first = server.log().nbytes
    assert first == manifest.part([0]).pixel_nbytes
    xr.testing.assert_identical(valid.load(), wanted["valid"])
    assert server.log().nbytes == first  # both copies know of one read
    assert len(receipts) == 1


def test_dask_reads_in_other_processes(server: Server, served: tuple[Manifest, HeaderIndex]) -> None:
    manifest, index = served
    dataset = read_chip(manifest, 0, index, chunks={}, scaled=True)[["image"]]
    there = dataset.compute(scheduler="processes", num_workers=1)
    assert server.log().nbytes == manifest.part([0]).pixel_nbytes
    xr.testing.assert_identical(there["image"], read_chip(manifest, 0, index, scaled=True)["image"])


@pytest.mark.parametrize("name", ["plan.geomask.jsonl", "plan.geomask.parquet"])
def test_xarray_opens_the_file_of_a_manifest(
    folder: Path, tmp_path: Path, local: tuple[Manifest, HeaderIndex], name: str
) -> None:
    manifest, index = local
    manifest.save(tmp_path / name)
    for chip, options in ((0, {}), (1, {"engine": "geomask"})):
        with xr.open_dataset(tmp_path / name, chip=chip, **options) as dataset:
            assert dataset.chunks == {}
            xr.testing.assert_identical(dataset.load(), read_chip(manifest, chip, index))
    with xr.open_dataset(str(tmp_path / name), engine="geomask", chunks={}, scaled=True) as dataset:
        assert dataset.chunksizes["slot"] == (1, 1, 1, 1)
        xr.testing.assert_identical(dataset.compute(), read_chip(manifest, 0, index, scaled=True))
    with xr.open_dataset(tmp_path / name, engine="geomask", drop_variables="valid") as dataset:
        assert list(dataset.data_vars) == ["image"]


def test_the_engine_is_registered_and_knows_its_files() -> None:
    (point,) = entry_points(group="xarray.backends", name="geomask")
    assert point.load() is GeomaskEngine
    known = GeomaskEngine().guess_can_open
    assert known("a/b.geomask.jsonl")
    assert known(Path("b.geomask.parquet"))
    assert not known("a/b.jsonl")
    assert not known("b.parquet")
    assert not known(b"b.geomask.parquet")


def test_a_lazy_chip_is_written_to_netcdf(local: tuple[Manifest, HeaderIndex], tmp_path: Path) -> None:
    manifest, index = local
    read_chip(manifest, 0, index, chunks={}).to_netcdf(tmp_path / "chip.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "chip.nc", engine="scipy") as back:
        xr.testing.assert_equal(back.drop_vars("spatial_ref"), read_chip(manifest, 0, index).drop_vars("spatial_ref"))


@pytest.mark.parametrize("chip", [-1, 2])
@pytest.mark.parametrize("chunks", [None, {}])
def test_a_chip_that_is_not_there_is_refused(
    local: tuple[Manifest, HeaderIndex], chip: int, chunks: dict[str, int] | None
) -> None:
    with pytest.raises(ManifestError, match=f"no chip {chip} in a manifest of 2"):
        read_chip(local[0], chip, local[1], chunks=chunks)


def test_what_does_not_come_is_said_and_can_be_asked_for_again(
    server: Server, served: tuple[Manifest, HeaderIndex]
) -> None:
    manifest, index = served
    dataset = read_chip(manifest, 0, index, chunks={})
    server.fail("tiny_20200105/B02.tif", status=404, times=None)
    with pytest.raises(FetchError, match=r"B02\.tif"):
        dataset.compute(scheduler="threads")
    server.heal()
    xr.testing.assert_identical(dataset.compute(scheduler="threads"), read_chip(manifest, 0, index))


def test_hrefs_are_signed_for_every_read(folder: Path, server: Server) -> None:
    manifest, index = planned(items_of(folder, server))
    asked: list[str] = []

    def sign(href: str) -> str:
        asked.append(href)
        return href

    dataset = read_chip(manifest, 0, index, chunks={}, sign=sign)
    assert asked == []
    dataset["image"].isel(slot=1).load()
    assert set(asked) == {server.href("tiny_20200115/B02.tif")}
    asked.clear()
    signed = HeaderIndex({href: index[href] for href in index}, sign=sign)
    read_chip(manifest, 0, signed, chunks={})["image"].isel(slot=1).load()
    assert set(asked) == {server.href("tiny_20200115/B02.tif")}


def test_importing_it_imports_neither_dask_nor_what_reads() -> None:
    program = "import sys, geomask.read.lazy; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()).isdisjoint({"dask", "torch", "rasterio", "obstore", "pystac"})


def test_it_is_exported() -> None:
    assert geomask.read_chip is read_chip
