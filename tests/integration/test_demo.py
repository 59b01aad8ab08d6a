"""The real demo, ``geomask demo --fast``, by what it leaves in its folder."""

import json
from pathlib import Path

import numpy as np
import pystac
import rasterio

from geomask.chips.split import make_splits
from geomask.plan.manifest import Manifest
from geomask.report.summary import read_summary
from geomask.selection import Selection
from geomask.stac.search import load_items
from geomask.train.record import load_record

RUNS = 4 * 3 * 2  # methods, splits, seeds


def receipts(folder: Path) -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text()) for path in (folder / "runs").glob("*/receipt.json")}


def test_the_server_counted_what_was_planned_in_every_run(demo_folder: Path) -> None:
    found = receipts(demo_folder)
    assert len(found) == RUNS
    for receipt in found.values():
        counted = receipt["server"]
        assert counted["bytes"] == receipt["planned_nbytes"]
        assert counted["requests"] == receipt["planned_requests"] == receipt["requests"]
        assert counted["header_bytes"] == receipt["header_nbytes"]
        assert counted["pixel_bytes"] == receipt["pixel_nbytes"]
        assert receipt["refetched_nbytes"] == 0


def test_every_budget_holds_on_the_wire(demo_folder: Path) -> None:
    found = receipts(demo_folder)
    for fold in range(3):
        for seed in range(2):
            dense = found[f"dense-f{fold}-s{seed}"]["server"]["bytes"]
            for method in ("learned", "uniform", "random"):
                assert found[f"{method}-f{fold}-s{seed}"]["server"]["bytes"] <= 0.1 * dense


def test_a_tenth_of_the_bytes_does_as_well(demo_folder: Path) -> None:
    """Within two points of dense and no worse than uniform, as measured; here with room for another processor.

    Training rounds differently from one kind of processor to the next. Over six runs that moves a mean by about
    half a point; two points of room do not hide a selector that does not work, which falls to the random draw's score.
    """
    summary = read_summary(demo_folder)
    score = {name: summary.row(name, "score").value for name in summary.contenders}
    assert summary.row("learned", "gain_over_dense").value > -0.03
    assert score["learned"] > score["random"] + 0.02
    assert score["learned"] > score["uniform"] - 0.01
    assert score["learned"] > score["majority"] + 0.1


def test_the_summary_is_tidy_and_whole(demo_folder: Path) -> None:
    document = json.loads((demo_folder / "summary.json").read_text())
    assert set(document) == {"date", "machine", "versions", "rows"}
    keys = {"contender", "case", "metric", "value", "unit", "n", "low", "high"}
    assert all(set(row) == keys and row["case"] == "demo" for row in document["rows"])
    shown = {(row["contender"], row["metric"]) for row in document["rows"]}
    for contender in ("dense", "learned", "random", "uniform"):
        assert {(contender, metric) for metric in ("score", "bytes", "requests", "seconds")} <= shown
    assert {(contender, "gain_over_dense") for contender in ("learned", "random", "uniform", "majority")} <= shown
    scores = [row for row in document["rows"] if row["metric"] == "score" and row["contender"] != "majority"]
    assert all(row["n"] == 6 and 0 <= row["value"] <= 1 and row["unit"] == "fraction" for row in scores)


def test_what_is_printed_is_the_plan_the_wire_and_the_table(demo_folder: Path, demo_output: str) -> None:
    lines = demo_output.splitlines()
    kinds = [line.split()[0] for line in lines]
    assert kinds.index("plan") < kinds.index("wire") < kinds.index("contender")
    for method in ("dense", "learned"):
        manifest = Manifest.load(demo_folder / "manifests" / f"{method}.geomask.jsonl")
        assert any(line.startswith(f"plan {method}") and manifest.summary() in line for line in lines)


def test_the_maps_are_cogs_with_items_and_the_learned_one_names_its_selection(demo_folder: Path) -> None:
    selection = Selection.load(demo_folder / "runs" / "learned-f0-s0" / "selection.json")
    (item,) = pystac.Collection.from_file(str(demo_folder / "maps" / "learned" / "collection.json")).get_items()
    assert item.properties["geomask:selection"] == selection.digest
    with rasterio.open(item.assets["map"].get_absolute_href()) as dataset:
        assert dataset.shape == (100, 100)
        assert set(dataset.read(1).flat) <= {0, 1, 2, 3}
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_what_was_searched_can_be_searched_again_without_the_server(demo_folder: Path) -> None:
    items = load_items(demo_folder / "items.json")
    assert len(items) == 75
    assert all(Path(asset.href).is_file() for item in items for asset in item.assets.values())


def test_the_page_is_one_file(demo_folder: Path) -> None:
    page = (demo_folder / "report.html").read_text()
    assert page.count("<svg") >= 5
    assert "85 and over" in page


def test_the_score_is_that_of_the_map_that_was_read_over_http(demo_folder: Path) -> None:
    """A cell's guard is as wide as the network looks: its chip and the whole scene say the same inside."""
    with rasterio.open(demo_folder / "maps" / "truth.tif") as truth:
        labels = truth.read(1)
    for method in ("dense", "learned"):
        with rasterio.open(demo_folder / "maps" / method / "map.vrt") as dataset:
            right = dataset.read(1) == labels
        cells = [divmod(cell, 5) for cell in make_splits(25)[0].test]
        inner = [right[20 * row + 2 : 20 * row + 18, 20 * col + 2 : 20 * col + 18] for row, col in cells]
        record = load_record(demo_folder / "runs" / f"{method}-f0-s0")
        # One pixel of 2,304 may round otherwise in a picture of another size.
        assert abs(np.mean(inner) - record.scores["test"]) < 1e-3
