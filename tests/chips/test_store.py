import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import items as stac
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from torch.utils.data import BatchSampler, DataLoader
from torchgeo.datasets import stack_samples

from geomask.chips import store_plan
from geomask.chips.cells import as_windows
from geomask.chips.dataset import StacDataset
from geomask.chips.memory import read_chips
from geomask.chips.store import MAPS, ChipStore
from geomask.chips.store_plan import StorePlan, find_chips, plan_store
from geomask.chips.writer import NAMES, check_store, write_store
from geomask.errors import GridError, RunError, SelectionError
from geomask.grid import Grid, Window
from geomask.plan.sources import choose_grid, index_selection
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots

BANDS = (Band("B02", "B02", 10), Band("B03", "B03", 10))
SIZE = (32, 32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> StacDataset:
    found = stac.write_items(tmp_path_factory.mktemp("a b"), dates=4, bands=("B02", "B03"), holes=True)
    selection = Selection.dense(make_slots(found), BANDS)
    grid = choose_grid(selection, found, index_selection(selection, found))
    labels = np.arange(grid.height * grid.width).reshape(grid.height, grid.width) % 5 - 1
    return StacDataset(found, selection, grid, labels)


@pytest.fixture(scope="module", autouse=True)
def _small_parts() -> Iterator[None]:
    """Four chips in a part, so that twelve chips take three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_plan, "PART_NBYTES", 4 * 4 * 4 * 32 * 32)
        yield


@pytest.fixture(scope="module")
def plan(dataset: StacDataset, _small_parts: None) -> StorePlan:
    return plan_store(dataset, find_chips(dataset, SIZE, SIZE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, dataset: StacDataset, plan: StorePlan) -> Path:
    folder = tmp_path_factory.mktemp("chips") / "a store"
    write_store(folder, dataset, plan)
    return folder


@pytest.fixture
def store(folder: Path) -> ChipStore:
    return ChipStore(folder)


def chunks(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/c/**/*") if path.is_file()]


def sample_of(dataset: StacDataset, window: Window) -> dict[str, torch.Tensor]:
    left, bottom, right, top = dataset.grid.bounds_of(window)
    return dataset[left:right, bottom:top]


def test_a_chip_of_the_store_is_the_datasets_sample(dataset: StacDataset, store: ChipStore) -> None:
    assert len(store) == 12
    assert store.record.dtype == "uint16"
    for position in range(len(store)):
        want = sample_of(dataset, Window(*store.windows[position].tolist()))
        got = store[position]
        assert got.keys() == want.keys()
        for name, values in want.items():
            assert torch.equal(got[name], values)
            assert got[name].dtype == values.dtype
    assert torch.equal(store[-1]["image"], store[11]["image"])
    assert torch.equal(store[np.int64(3)]["image"], store[3]["image"])
    assert torch.equal(store[np.array([3])]["image"][0], store[3]["image"])
    with pytest.raises(IndexError):
        store[12]


def test_zarr_reads_the_store_as_a_group(store: ChipStore, folder: Path) -> None:
    group = zarr.open_group(folder, mode="r")
    assert set(group.array_keys()) == {"image", "valid", "mask", "window"}
    assert group["image"].dtype == np.uint16
    assert group["valid"].dtype == bool
    assert np.array_equal(group["window"][:], store.windows)
    for name in ("image", "valid", "mask"):
        stacked = torch.stack([store[position][name] for position in range(12)]).numpy()
        assert np.array_equal(group[name][:].astype(stacked.dtype), stacked)
    assert group.attrs["geomask"] == "chips"
    assert [list(pair) for pair in store.record.channels] == group.attrs["channels"]
    with xr.open_zarr(folder) as cube:
        assert cube["image"].dims == ("chip", "channel", "y", "x")
        assert np.array_equal(cube["mask"].isel(chip=11).values, store[11]["mask"].numpy())


def test_what_a_store_holds_is_said(store: ChipStore, dataset: StacDataset, folder: Path) -> None:
    assert store.selection == dataset.selection
    assert store.grid == dataset.grid
    assert {path.name for path in folder.iterdir()} == set(NAMES)
    assert [item.id for item in store.items] == ["tiny_20200105", "tiny_20200204"]
    assert not any(item.links for item in store.items)
    assert len(store.headers) == 4
    assert store.record.parts == 3
    spent = json.loads((folder / "receipt.json").read_text())
    assert spent["parts"] == 3
    assert spent["nbytes"] == spent["planned_nbytes"] > 0


@pytest.mark.parametrize("kind", ["spawn", "forkserver", "fork"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # Python says so of fork
def test_workers_started_in_any_way_read_the_same(store: ChipStore, kind: str) -> None:
    order = np.random.default_rng(0).permutation(12).tolist()
    options = {"batch_size": 5, "sampler": order, "collate_fn": stack_samples}
    alone = list(DataLoader(store, **options))
    crowd = list(DataLoader(store, num_workers=1, multiprocessing_context=kind, **options))
    for one, other in zip(alone, crowd, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_whole_batches_are_the_samples_stacked(store: ChipStore, folder: Path) -> None:
    order = [7, 2, 2, 11, 0]
    for chips in (store, ChipStore(folder, series=True)):
        loader = DataLoader(chips, batch_size=None, sampler=BatchSampler(order, 3, drop_last=False))
        for batch, positions in zip(loader, (order[:3], order[3:]), strict=True):
            want = stack_samples([chips[position] for position in positions])
            assert batch.keys() == want.keys()
            assert all(torch.equal(batch[name], want[name]) for name in want)
    assert ChipStore(folder, series=True)[3]["image"].shape == (2, 2, 32, 32)


def test_in_memory_they_are_what_read_chips_gives(store: ChipStore, dataset: StacDataset) -> None:
    chips, _ = read_chips(dataset, as_windows(store.windows))
    order = sorted(range(12), key=lambda at: store.windows[at].tolist())
    loaded = store.load(order)
    assert np.array_equal(loaded.image, chips.image)
    assert np.array_equal(loaded.valid, chips.valid)
    assert np.array_equal(loaded.labels, chips.labels)
    assert (loaded.windows, loaded.classes) == (chips.windows, chips.classes)


def test_a_store_pickles_without_its_maps(store: ChipStore) -> None:
    store[0]
    data = pickle.dumps(store)
    assert len(data) < 20_000
    assert torch.equal(pickle.loads(data)[4]["image"], store[4]["image"])


def test_few_files_are_open_at_a_time(store: ChipStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geomask.chips.store.MAPS", 2)
    first = [store[position]["image"].clone() for position in range(12)]
    assert len(store._maps) <= 2 < MAPS
    assert all(torch.equal(store[position]["image"], image) for position, image in enumerate(first))


def test_an_interrupted_store_goes_on_where_it_ended(
    dataset: StacDataset, plan: StorePlan, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, parts, there = StacDataset.read, [], []

    def interrupted(self: StacDataset, windows: Any, *rest: Any) -> Any:
        if len(parts) == 2:
            raise KeyboardInterrupt
        parts.append(windows)
        return read(self, windows, *rest)

    monkeypatch.setattr(StacDataset, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "store", dataset, plan, there.append)
    assert there == [0, 4, 8]
    with pytest.raises(RunError, match="lacks 1 of 3 parts; run the same `geomask chips` again"):
        ChipStore(tmp_path / "store")
    assert not zarr.open_group(tmp_path / "store", mode="r")["valid"][8:].any()  # what is not there is not valid
    parts.clear()
    spent = write_store(tmp_path / "store", dataset, plan)
    assert parts == [as_windows(plan.part(2))]
    assert spent.parts == 3
    parts.clear()
    assert write_store(tmp_path / "store", dataset, plan) == spent
    assert not parts
    whole = {path.relative_to(folder): path.read_bytes() for path in chunks(folder)}
    again = {path.relative_to(tmp_path / "store"): path.read_bytes() for path in chunks(tmp_path / "store")}
    assert whole == again


def test_a_part_of_which_a_file_is_short_is_read_again(
    dataset: StacDataset, plan: StorePlan, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "store")
    short = tmp_path / "store" / "valid" / "c" / "1" / "0" / "0" / "0"
    short.write_bytes(short.read_bytes()[:-1])
    with pytest.raises(RunError, match="lacks 1 of 3"):
        ChipStore(tmp_path / "store")
    write_store(tmp_path / "store", dataset, plan)
    assert short.read_bytes() == (folder / "valid" / "c" / "1" / "0" / "0" / "0").read_bytes()


@pytest.mark.parametrize("name", ["items.json", "headers.parquet", "selection.json", "window/c/0/0", "image/zarr.json"])
def test_what_a_store_has_lost_comes_back(
    dataset: StacDataset, plan: StorePlan, folder: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(folder, tmp_path / "store")
    (tmp_path / "store" / name).unlink()
    again = write_store(tmp_path / "store", dataset, plan)
    assert (tmp_path / "store" / name).stat().st_size == (folder / name).stat().st_size
    assert again.parts == 3  # none of them was read again
    mended = ChipStore(tmp_path / "store")
    assert len(mended.items) == 2
    assert torch.equal(mended[5]["image"], ChipStore(folder)[5]["image"])


def test_the_digest_is_of_everything_that_the_chips_are_made_from(dataset: StacDataset, plan: StorePlan) -> None:
    windows = find_chips(dataset, SIZE, SIZE)
    same = StacDataset(dataset.items[::-1], dataset.selection, dataset.grid, dataset.labels)
    assert plan_store(same, windows).record == plan.record
    others = [
        plan_store(dataset, windows[::-1]),
        plan_store(dataset, windows[1:]),
        plan_store(dataset, find_chips(dataset, (16, 16), (16, 16))),
        plan_store(
            StacDataset(dataset.items, dataset.selection.keep([0, 1, 2]), dataset.grid, dataset.labels), windows
        ),
        plan_store(StacDataset(dataset.items[2:], dataset.selection, dataset.grid, dataset.labels), windows),
        plan_store(StacDataset(dataset.items, dataset.selection, dataset.grid, (dataset.labels + 2) % 5), windows),
        plan_store(StacDataset(dataset.items, dataset.selection, dataset.grid), windows),
    ]
    digests = {other.record.digest for other in others}
    assert len(digests) == len(others)
    assert plan.record.digest not in digests


def test_another_plan_into_the_same_folder_is_an_error(dataset: StacDataset, folder: Path, tmp_path: Path) -> None:
    other = plan_store(dataset, find_chips(dataset, SIZE, SIZE)[1:])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(RunError, match="made from something else"):
        write_store(folder, dataset, other)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    with pytest.raises(RunError, match="something else than chips"):
        write_store(tmp_path / "mine", dataset, other)
    with pytest.raises(RunError, match="is a file"):
        check_store(tmp_path / "mine" / "thesis.txt")
    shutil.copytree(folder, tmp_path / "headless")
    (tmp_path / "headless" / "zarr.json").unlink()
    with pytest.raises(RunError, match=r"no zarr\.json"):
        check_store(tmp_path / "headless")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 99}, "no chips of version 1"),
        ({"geomask": "manifest"}, "no chips of version"),
        ({"chips": -1}, "broken"),
        ({"chips": "many"}, "broken"),
        ({"grid": {}}, "broken"),
        ({"channels": [[1]]}, "broken"),
        ({"dtype": "object"}, "broken"),
        ({"chips": 1000}, "lacks"),
        ({"channels": [["a", "b"]], "scaling": [[1, 0]]}, "lacks"),
    ],
)
def test_a_broken_store_is_an_error(folder: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    shutil.copytree(folder, tmp_path / "store")
    document = json.loads((tmp_path / "store" / "zarr.json").read_text())
    document["attributes"] |= change
    (tmp_path / "store" / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match=words):
        ChipStore(tmp_path / "store")


def test_a_folder_that_is_no_store_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no chip store"):
        ChipStore(tmp_path)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(RunError, match="broken"):
        ChipStore(tmp_path)
    shutil.copytree(folder, tmp_path / "store")
    Selection(*[getattr(Selection.load(folder / "selection.json"), name) for name in ("slots", "bands")], ()).save(
        tmp_path / "store" / "selection.json"
    )
    with pytest.raises(RunError, match=r"selection\.json is not the one"):
        ChipStore(tmp_path / "store")


def test_without_labels_there_is_no_mask(dataset: StacDataset, tmp_path: Path) -> None:
    bare = StacDataset(dataset.items, dataset.selection, dataset.grid)
    write_store(tmp_path / "store", bare, plan_store(bare, find_chips(bare, SIZE, SIZE)))
    store = ChipStore(tmp_path / "store")
    assert "mask" not in store[0]
    assert "mask" not in store[[0, 1]]
    assert not (tmp_path / "store" / "mask").exists()
    with pytest.raises(RunError, match="have no labels"):
        store.load()


def test_chips_without_an_item_or_a_label_are_left_out(dataset: StacDataset) -> None:
    grid = dataset.grid
    wider = Grid(grid.crs, grid.left - 3200, grid.top, 10, 10, grid.height, grid.width + 960)
    chips = StacDataset(dataset.items, dataset.selection, wider)
    windows = find_chips(chips, SIZE, SIZE)
    assert set(windows[:, 1].tolist()) == {320, 352, 384}
    labels = np.full((wider.height, wider.width), -1)
    labels[40, 330] = labels[0, 0] = 2
    labelled = StacDataset(dataset.items, dataset.selection, wider, labels)
    assert find_chips(labelled, SIZE, SIZE).tolist() == [[32, 320, 32, 32]]
    labels[40, 330] = -1
    with pytest.raises(GridError, match="meets an item and a label"):
        find_chips(labelled, SIZE, SIZE)


def test_a_grid_of_more_places_than_can_be_looked_at_is_an_error(dataset: StacDataset) -> None:
    vast = Grid(dataset.grid.crs, dataset.grid.left, dataset.grid.top, 0.001, 0.001, 1_000_000, 900_000)
    with pytest.raises(GridError, match=r"has 878906250 places for chips.* smaller area, larger pixels"):
        find_chips(StacDataset(dataset.items, dataset.selection, vast), SIZE, SIZE)


def test_a_selection_of_nothing_is_an_error(dataset: StacDataset) -> None:
    empty = StacDataset(dataset.items, dataset.selection.keep([]), dataset.grid)
    with pytest.raises(SelectionError, match="chips of no channel"):
        plan_store(empty, find_chips(empty, SIZE, SIZE))


def test_files_of_two_types_are_kept_as_floats(tmp_path: Path) -> None:
    (one,) = stac.write_items(tmp_path / "one", dates=1, bands=("B02",), dtype="uint16")
    (other,) = stac.write_items(tmp_path / "other", dates=1, bands=("B03",), dtype="int16")
    one.assets["B03"] = other.assets["B03"]
    selection = Selection.dense(make_slots([one]), BANDS)
    chips = StacDataset([one], selection, choose_grid(selection, [one], index_selection(selection, [one])))
    plan = plan_store(chips, find_chips(chips, SIZE, SIZE))
    assert plan.record.dtype == "float32"
    write_store(tmp_path / "store", chips, plan)
    store = ChipStore(tmp_path / "store")
    window = Window(*store.windows[5].tolist())
    assert torch.equal(store[5]["image"], sample_of(chips, window)["image"])


def test_signatures_are_in_no_file_of_a_store(dataset: StacDataset, tmp_path: Path) -> None:
    signed = [item.clone() for item in dataset.items]
    for item in signed:
        item.assets["preview"] = item.assets["B02"].clone()
        item.assets["preview"].href = "https://example.com/a.png?sig=hush&se=2030"
        item.assets["preview"].extra_fields["alternate"] = {
            "s3": {"href": "https://u:hush@example.com/b?X-Amz-Signature=hush"}
        }
    chips = StacDataset(signed, dataset.selection, dataset.grid)
    write_store(tmp_path / "store", chips, plan_store(chips, find_chips(chips, SIZE, SIZE)))
    written = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert b"https://example.com/a.png" in written
    assert b"hush" not in written


def test_tiles_that_parts_share_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GeoTIFF tiles of 64 pixels under chips of 16 in parts of four: four parts share each tile."""
    monkeypatch.setattr(store_plan, "PART_NBYTES", 4 * 4 * 16 * 16)
    options = {"height": 256, "width": 256, "block": 64, "overviews": False, "compress": "none", "predictor": 1}
    found = stac.write_items(tmp_path, dates=1, bands=("B02",), **options)
    selection = Selection.dense(make_slots(found), BANDS[:1])
    grid = choose_grid(selection, found, index_selection(selection, found))
    chips = StacDataset(found, selection, grid)
    plan = plan_store(chips, find_chips(chips, (16, 16), (16, 16)))
    spent = write_store(tmp_path / "store", chips, plan)
    assert plan.record.parts == 64
    size = (tmp_path / "tiny_20200105" / "B02.tif").stat().st_size
    assert size > 8 * 16384
    assert spent.nbytes <= size
