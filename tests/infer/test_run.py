from pathlib import Path

import items as stac
import numpy as np
import pystac
import pytest
import rasterio
import torch

from geomask.demo.server import Server
from geomask.errors import ItemError
from geomask.grid import Grid
from geomask.infer.run import NODATA, infer, save_map
from geomask.masks.hard import HardGate
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots
from geomask.train.network import MaskedNetwork, SmallNet
from geomask.train.run import Record, Run


@pytest.fixture
def items(tmp_path: Path) -> list[pystac.Item]:
    return stac.write_items(tmp_path / "a b", dates=4, bands=("B02", "B03"), height=40, width=50, holes=True)


@pytest.fixture
def run(items: list[pystac.Item]) -> Run:
    """An untrained network that takes B03 of the first month and B02 of the second."""
    torch.manual_seed(0)
    dense = Selection.dense(make_slots(items), [Band("B02", "B02", 10), Band("B03", "B03", 10)])
    network = SmallNet(2, classes=3, width=8, dropout=0.2)
    model = MaskedNetwork(torch.full((2,), 3e4), torch.full((2,), 1e4), HardGate([1, 0]), network).eval()
    record = Record("learned", 0, 0, 3, "50%", 0, 0, ["a", "b", "c"], 10.0, {}, [])
    return Run(record, dense.keep([1, 2]), model)


def test_a_map_is_the_network_over_what_plain_rasterio_reads(items: list[pystac.Item], run: Run) -> None:
    result = infer(run, items)
    pixels = []
    for item, band in ((items[0], "B03"), (items[3], "B02")):
        with rasterio.open(item.assets[band].href) as file:
            pixels.append(file.read(1).astype("float32"))
    image = torch.from_numpy(np.stack(pixels))[None]
    want = run.model(image, image != 0).argmax(1)[0].numpy()
    want[~(image[0] != 0).any(0).numpy()] = NODATA
    assert (result.classes == want).all()
    assert result.classes.dtype == np.uint8
    assert [item.id for item in result.sources] == [items[0].id, items[3].id]


def test_only_the_selected_files_are_asked_for(tmp_path: Path, items: list[pystac.Item], run: Run) -> None:
    with Server(tmp_path / "a b") as server:
        for item in items:
            for asset in item.assets.values():
                asset.href = server.href(Path(asset.href))
        result = infer(run, items)
        log = server.log()
    assert {entry.path for entry in log.entries} == {
        f"{items[0].id}/B03.tif",
        f"{items[3].id}/B02.tif",
    }
    assert (log.nbytes, log.requests) == (result.receipt.nbytes, result.receipt.requests)
    assert log.nbytes == result.receipt.planned_nbytes


def test_the_map_is_a_cog_with_a_stac_item(tmp_path: Path, items: list[pystac.Item], run: Run) -> None:
    result = infer(run, items)
    path = save_map(result, tmp_path / "out put", "cover")
    item = pystac.Item.from_file(path)
    with rasterio.open(item.assets["map"].get_absolute_href()) as file:
        assert (file.read(1) == result.classes).all()
        assert file.nodata == NODATA
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert list(file.shape) == item.properties["proj:shape"]
        assert list(file.transform)[:6] == item.properties["proj:transform"]
        assert file.crs.to_string() == item.properties["proj:code"]
    assert item.properties["geomask:selection"] == run.selection.digest
    assert item.common_metadata.start_datetime == items[0].datetime
    assert item.common_metadata.end_datetime == items[3].datetime
    west, south, east, north = item.bbox
    assert west < items[0].bbox[2] and east > items[0].bbox[0] and south < items[0].bbox[3] and north > items[0].bbox[1]  # noqa: PT018


def test_a_map_of_a_place_that_no_item_shows_is_refused(items: list[pystac.Item], run: Run) -> None:
    away = Grid("EPSG:32633", 900_000, 5_000_000, 10, 10, 20, 20)
    with pytest.raises(ItemError, match="no item fills a selected channel"):
        infer(run, items, away)
