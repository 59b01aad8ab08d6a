"""Maps of runs that read blocks of chips: against one pass over the whole scene, of which only these are shown."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import items as stac
import maps
import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import torch

from geomask.demo.server import Server
from geomask.errors import RunError
from geomask.infer import draft
from geomask.infer import run as infer_run
from geomask.infer.draft import Wish
from geomask.infer.field import Field
from geomask.infer.geotiff import NODATA
from geomask.infer.product import plain_network
from geomask.infer.run import estimate, infer
from geomask.masks.dynamic import DynamicScores
from geomask.masks.gate import Gate
from geomask.masks.grain import Grain
from geomask.masks.hard import HardMask
from geomask.masks.policy import Policy
from geomask.masks.preview import Preview
from geomask.masks.priced import PricedGate, PricedPolicy
from geomask.plan.manifest import Manifest
from geomask.selection import Selection
from geomask.stac.profile import Band
from geomask.stac.slots import make_slots
from geomask.train.network import MaskedNetwork, SmallNet
from geomask.train.record import Record
from geomask.train.run import Run, load_run, save_run
from geomask.train.step import Trained

CHIP = (32, 32)
SIZE = (310, 230)
FILES: dict[str, Any] = {
    "dates": 4,
    "bands": ("B02", "B03"),
    "height": SIZE[0],
    "width": SIZE[1],
    "holes": True,
    "overviews": True,
    "block": 16,
}


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer_run, "choose_engine", lambda *_: ("eager", None))
    monkeypatch.setattr(draft, "find_field", lambda _: Field(2, 1))


@pytest.fixture
def items(tmp_path: Path) -> list[pystac.Item]:
    return stac.write_items(tmp_path / "a b", **FILES)


@pytest.fixture
def selection(items: list[pystac.Item]) -> Selection:
    return Selection.dense(make_slots(items), [Band("B02", "B02", 10), Band("B03", "B03", 10)])


def record() -> Record:
    settings = asdict(maps.SETTINGS)
    return Record("priced", 0, 0, 3, "50%", 0, 0, maps.CLASSES, 10.0, {}, [], settings=settings, size=list(CHIP))


def network(gate: Gate, shape: tuple[int, ...], heads: int) -> Trained:
    torch.manual_seed(1)
    small = SmallNet(heads, len(maps.CLASSES), maps.SETTINGS.width, maps.SETTINGS.dropout)
    return Trained(MaskedNetwork(torch.full(shape, 3e4), torch.full(shape, 2e4), gate, small).eval(), ())


def dynamic_run(folder: Path, selection: Selection, levels: Sequence[int | None]) -> Run:
    """Of a gate that reads about a third of the blocks of each chip, by what the first overview shows of it."""
    torch.manual_seed(0)
    grain, preview = Grain((0, 0, 1, 1), 2, 3), Preview((0, 3), 2)
    shape, count = (len(levels), *grain.shape), len(selection.channels)
    scores = DynamicScores("linear", preview.size(CHIP), len(levels), grain.shape, 0.3 * torch.randn(shape))
    for weight in scores.model.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    prices = np.array([100.0, 25.0])[: len(levels), None, None, None] * np.ones(grain.shape)
    gate = PricedGate(grain, prices, 100.0 * grain.units / 3, scores, preview)
    channels = (count,) if len(levels) == 1 else (len(levels), count)
    gate.draw(torch.randn(16, *channels, *CHIP))
    policy_gate = PricedPolicy(gate)
    policy = Policy.of(policy_gate, selection, CHIP, 0, [3e4] * 2, [2e4] * 2, levels)
    return save_run(folder, network(policy_gate, channels, count), selection, record(), policy=policy)


def planes_of(items: Sequence[pystac.Item], selection: Selection, levels: Sequence[int | None]) -> np.ndarray:
    """All channels at each level, on the grid, float32 (planes, rows, columns), as plain rasterio reads them."""
    planes = []
    for level in levels:
        for channel in selection.channels:
            slot, band = selection.slots[channel.slot], selection.bands[channel.band]
            first = next(item for item in items if item.datetime is not None and slot.holds(item.datetime))
            options = {} if level is None else {"overview_level": level}
            with rasterio.open(first.assets[band.asset].href, **options) as file:
                values = file.read(1).astype("float32")
            if level is not None:
                rows, cols = (np.arange(length) // 2 for length in SIZE)
                values = values[rows][:, cols]
            planes.append(values)
    return np.stack(planes)


def chips_of(values: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Chips by their corner, 0 beyond the edges."""
    padded = np.zeros((len(values), *(-(-n // side) * side for n, side in zip(SIZE, CHIP, strict=True))), values.dtype)
    padded[:, : SIZE[0], : SIZE[1]] = values
    return {
        (row, col): padded[:, row : row + CHIP[0], col : col + CHIP[1]]
        for row in range(0, SIZE[0], CHIP[0])
        for col in range(0, SIZE[1], CHIP[1])
    }


def shown(run: Run, planes: np.ndarray, chosen: dict[tuple[int, int], np.ndarray], seen: np.ndarray) -> np.ndarray:
    """What the network says of all planes at once, where only what was chosen, (planes, rows, columns), is valid."""
    valid = np.zeros(planes.shape, bool)
    for (row, col), choice in chosen.items():
        part = valid[:, row : row + CHIP[0], col : col + CHIP[1]]
        part[...] = choice[:, : part.shape[1], : part.shape[2]]
    valid &= planes != 0
    image = torch.from_numpy(np.where(valid, planes, 0))[None]
    model = plain_network(run.model)
    with torch.inference_mode():
        said = model.objective.decide(model(image, torch.from_numpy(valid)[None]))[0].numpy()
    return np.where(seen, said, NODATA)


@pytest.mark.parametrize("levels", [(None,), (None, 0)])
def test_in_two_stages_a_map_is_one_pass_over_what_the_policy_chose(
    items: list[pystac.Item], selection: Selection, tmp_path: Path, levels: Sequence[int | None]
) -> None:
    run = dynamic_run(tmp_path / "run", selection, levels)
    assert run.policy is not None
    planes = planes_of(items, selection, levels)
    overview, chosen = planes_of(items, selection, [0])[[0, 3]], {}
    for place, image in chips_of(overview).items():
        choice = run.policy.choose(run.policy.show(image[None], image[None] != 0))
        spread = run.policy.terms.grain.spread(torch.from_numpy(choice), CHIP)
        chosen[place] = spread.flatten(1, 2)[0].numpy()
    share = np.mean([choice.mean() for choice in chosen.values()])
    assert 0.1 < share < 0.7
    with Server(tmp_path / "a b") as server:
        online = [item.clone() for item in items]
        for item in online:
            for asset in item.assets.values():
                asset.href = server.href(Path(asset.href))
        status = infer(tmp_path / "run", online, tmp_path / "map", Wish(tile=128))
        log = server.log()
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "map"), shown(run, planes, chosen, (overview != 0).any(0)))
    assert (status.failed, status.nbytes, status.requests) == (0, log.nbytes, log.requests)
    assert 0 < status.preview_nbytes < status.nbytes
    stages = {row["stage"] for row in pq.read_table(tmp_path / "map" / "ledger").to_pylist() if row["kind"] == "read"}
    assert stages == {"preview", "pixels"}


def test_both_manifests_lie_beside_a_tile_and_name_only_what_was_chosen(
    items: list[pystac.Item], selection: Selection, tmp_path: Path
) -> None:
    dynamic_run(tmp_path / "run", selection, (None,))
    infer(tmp_path / "run", items, tmp_path / "map", Wish(tile=128))
    item = pystac.Item.from_file(str(tmp_path / "map" / "tiles" / "r00000_c00000.json"))
    preview, pixels = (Manifest.load(item.assets[name].get_absolute_href() or "") for name in ("preview", "manifest"))
    assert {source.level for source in preview.requests.sources} == {0}
    assert {source.level for source in pixels.requests.sources} == {None}
    assert len(preview.channels) == 2
    assert pixels.selection == load_run(tmp_path / "run").selection.digest
    most = estimate(tmp_path / "run", items, tmp_path / "other")
    assert most.at_most
    assert pixels.planned_nbytes + preview.planned_nbytes < most.nbytes


def test_the_same_blocks_of_each_chip_are_one_pass_over_these(
    items: list[pystac.Item], selection: Selection, tmp_path: Path
) -> None:
    choice = torch.from_numpy((np.random.default_rng(0).random((1, 4, 2, 3)) > 0.6).astype("float32"))
    choice[0, 2] = 0
    run = save_run(tmp_path / "run", network(HardMask(Grain((0, 1, 2, 3), 2, 3), choice), (4,), 4), selection, record())
    assert len(run.selection.channels) == 3
    infer(tmp_path / "run", items, tmp_path / "map", Wish(tile=128))
    planes = planes_of(items, run.selection, [None])
    spread = Grain((0, 1, 2), 2, 3).spread(choice[0, [0, 1, 3]].bool(), CHIP).numpy()
    everywhere = np.ones(SIZE, bool)  # of each chip something is valid
    want = shown(load_run(tmp_path / "run"), planes, dict.fromkeys(chips_of(planes), spread), everywhere)
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "map"), want)


def test_blocks_of_chips_of_unknown_size_make_no_map(
    items: list[pystac.Item], selection: Selection, tmp_path: Path
) -> None:
    gate = HardMask(Grain((0, 1, 2, 3), 2, 2), torch.ones(1, 4, 2, 2))
    gate.choice[0, 0, 0, 0] = 0
    save_run(tmp_path / "run", network(gate, (4,), 4), selection, replace(record(), size=None))
    with pytest.raises(RunError, match="does not say how large its chips are"):
        infer(tmp_path / "run", items, tmp_path / "map")
