"""Overview levels and other assets as versions of a channel: what is learned is planned, read and paid to the byte."""

from datetime import UTC, datetime
from pathlib import Path

import maps
import numpy as np
import pystac
import pytest
import rasterio
import torch
from cogs import write_cog

from geomask.demo.server import Server
from geomask.infer.draft import Wish
from geomask.infer.run import infer
from geomask.masks.grain import Grain
from geomask.masks.hard import HardMask
from geomask.plan.compile import compile_manifest
from geomask.plan.sources import index_selection
from geomask.selection import Channel, Selection
from geomask.stac.band import Band
from geomask.train.run import load_run
from geomask.train.settings import Settings
from geomask.train.step import Trained, Training
from geomask.train.task import Task, prepare

SIDE = 120
BANDS = (Band("red", "red", 10), Band("nir", "nir", 10))
SETTINGS = Settings(steps=6, width=8, check_every=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two months of two bands; `nir` has one overview, `red` two, and a small copy of 20 m."""
    folder = tmp_path_factory.mktemp("versions")
    for date in range(2):
        size = {"height": SIDE, "width": SIDE, "block": 32, "first": 1 + 10 * date}
        write_cog(folder / f"{date}" / "red.tif", **size)  # type: ignore[arg-type]
        write_cog(folder / f"{date}" / "nir.tif", overviews=(2,), **{**size, "first": 5 + 10 * date})  # type: ignore[arg-type]
        small = {"height": SIDE // 2, "width": SIDE // 2, "gsd": 20.0, "dtype": "uint8", "overviews": False}
        write_cog(folder / f"{date}" / "red small.tif", **{**size, **small})  # type: ignore[arg-type]
    labels = (np.add.outer(np.arange(SIDE), np.arange(SIDE)) // 15 % 2).astype("uint8")
    with rasterio.open(folder / "0" / "red.tif") as like:
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "crs": like.crs, "transform": like.transform}
    with rasterio.open(folder / "labels.tif", "w", height=SIDE, width=SIDE, **profile) as file:
        file.write(labels, 1)
    return folder


def items_of(folder: Path, server: Server) -> list[pystac.Item]:
    items = []
    for date in range(2):
        item = pystac.Item(f"date {date}", None, None, datetime(2020, 1 + date, 5, tzinfo=UTC), {})
        for name, file in (("red", "red.tif"), ("nir", "nir.tif"), ("small", "red small.tif")):
            item.add_asset(name, pystac.Asset(server.href(folder / f"{date}" / file)))
        items.append(item)
    return items


@pytest.fixture(scope="module")
def task(folder: Path, running: Server) -> Task:
    return prepare(
        items_of(folder, running),
        BANDS,
        folder / "labels.tif",
        cell=30,
        guard=1,
        levels=(0, 1),
        alternatives={"red": ["small"]},
    )


def chosen(task: Task, planes: list[tuple[int, int]]) -> Trained:
    """A network behind a hard mask of these (version, channel)."""
    choice = torch.zeros(4, 4, 1, 1)
    for version, channel in planes:
        choice[version, channel] = 1
    gate = HardMask(Grain((0, 1, 2, 3)), choice)
    return Training(task.chips, task.splits[0], gate, SETTINGS, 0).finish()


def test_each_version_shows_what_its_files_hold(task: Task, folder: Path) -> None:
    assert task.chips.image.shape == (16, 4, 4, 30, 30)
    assert [band.name for band in task.selection.bands] == ["red", "small", "nir"]
    for version, (name, level) in enumerate((("red", None), ("red", 0), ("red", 1), ("red small", None))):
        with rasterio.open(
            folder / "1" / f"{name}.tif", **({} if level is None else {"overview_level": level})
        ) as file:
            pixels = file.read(1)
        fine = pixels.repeat(SIDE // len(pixels), 0).repeat(SIDE // len(pixels), 1)
        for window, chip in zip(task.chips.windows, task.chips.image[:, version, 2], strict=True):
            rows, cols = (slice(at, at + 30) for at in (window.row_off, window.col_off))
            np.testing.assert_array_equal(chip, fine[rows, cols])


def test_what_a_file_does_not_have_has_no_price_and_no_pixels(task: Task) -> None:
    assert task.versions is not None
    prices = task.versions.prices(task.cost)[:, :, 0, 0]
    assert np.isinf(prices).tolist() == [[False] * 4, [False] * 4, [False, True] * 2, [False, True] * 2]
    assert not task.chips.valid[2:, :][:, 2:, [1, 3]].any()
    assert (prices[0] > prices[1]).all()


@pytest.mark.parametrize("planes", [[(1, 0), (1, 1)], [(2, 0), (0, 1), (3, 2)], [(3, 0), (1, 1), (1, 2), (0, 3)]])
def test_the_cost_of_a_choice_is_what_its_run_plans_and_what_goes_over_the_wire(
    planes: list[tuple[int, int]], task: Task, folder: Path, server: Server, tmp_path: Path
) -> None:
    trained = chosen(task, planes)
    assert trained.planes == planes
    bill = task.bill(trained)
    task.save(tmp_path / "run", trained, "priced", 0, 0, "50%", SETTINGS)

    run, items = load_run(tmp_path / "run"), items_of(folder, server)
    assert run.record.planned_nbytes == bill.nbytes
    assert len(run.selection.channels) == len(planes)
    index = index_selection(run.selection, items)
    manifest = compile_manifest(run.selection, items, index, task.grid)
    assert (manifest.planned_nbytes, manifest.planned_requests) == bill
    server.reset()
    result = infer(tmp_path / "run", items, tmp_path / "map", Wish(grid=task.grid))
    log = server.log()
    assert (log.nbytes, log.requests) == bill
    assert result.planned_nbytes == bill.nbytes


def test_a_run_names_the_level_of_each_channel_and_its_network_says_what_the_gated_one_says(
    task: Task, folder: Path, server: Server, tmp_path: Path
) -> None:
    trained = chosen(task, [(2, 0), (3, 2), (1, 3)])
    task.save(tmp_path / "run", trained, "priced", 0, 0, "50%", SETTINGS)
    selection = Selection.load(tmp_path / "run" / "selection.json")
    assert selection.channels == (Channel(0, 0, 1), Channel(1, 1), Channel(1, 2, 0))
    assert selection.names == ["2020-01/red", "2020-02/small", "2020-02/nir"]

    infer(tmp_path / "run", items_of(folder, server), tmp_path / "map", Wish(grid=task.grid))
    classes = maps.mosaic(tmp_path / "map")
    window = task.chips.windows[5]
    image, valid = (torch.from_numpy(values[[5]]) for values in (task.chips.image, task.chips.valid))
    want = trained.model(image, valid).argmax(1)[0].numpy()
    rows, cols = (slice(at, at + 30) for at in (window.row_off, window.col_off))
    inner = (slice(2, -2), slice(2, -2))  # the network looks 2 pixels around, which a chip does not have
    np.testing.assert_array_equal(classes[rows, cols][inner], want[inner])


def test_a_budget_below_any_channel_at_full_resolution_buys_coarser_ones(
    task: Task, folder: Path, server: Server, tmp_path: Path
) -> None:
    assert task.versions is not None
    least = int(task.versions.prices(task.cost).min())
    assert least < task.cost.alone.min()
    run = task.train("learned", 0, 0, str(least), SETTINGS, tmp_path / "run")
    assert run.record.planned_nbytes == least
    (channel,) = run.selection.channels
    assert channel.level is not None or run.selection.bands[channel.band].name == "small"


@pytest.mark.parametrize("method", ["uniform", "concrete"])
def test_methods_of_one_version_take_full_resolution(method: str, task: Task, tmp_path: Path) -> None:
    run = task.train(method, 0, 0, "60%", SETTINGS, tmp_path / "run")  # type: ignore[arg-type]
    assert {channel.level for channel in run.selection.channels} == {None}
    assert "small" not in {run.selection.bands[channel.band].name for channel in run.selection.channels}


@pytest.mark.parametrize("grain", ["band", "slot"])
def test_a_grain_keeps_bands_or_slots_as_one(grain: str, task: Task, tmp_path: Path) -> None:
    run = task.train("learned", 0, 0, "60%", SETTINGS, tmp_path / "run", grain=grain)
    assert run.record.planned_nbytes <= task.budget("60%")
    names = [run.selection.bands[channel.band].asset for channel in run.selection.channels]
    if grain == "band":  # of both slots, at one version
        by_band = {
            (c.band, c.level): [d.slot for d in run.selection.channels if d.band == c.band]
            for c in run.selection.channels
        }
        assert all(slots == [0, 1] for slots in by_band.values())
    else:
        by_slot = {c.slot: sum(d.slot == c.slot for d in run.selection.channels) for c in run.selection.channels}
        assert set(by_slot.values()) == {2}
    assert names
