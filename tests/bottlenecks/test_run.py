import json
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transfers import write_transfer

from geomask.bottleneck.run import Blueprint, open_run, save_transfer
from geomask.bottleneck.tables import MAX_CONTEXTS
from geomask.bottleneck.transfer import encoder_digest, transfer_of
from geomask.errors import GeomaskError, RunError
from geomask.masks.hard import HardGate
from geomask.train.network import MaskedNetwork
from geomask.train.networks import make_network
from geomask.train.record import load_record
from geomask.train.run import Run, load_run, save_run
from geomask.train.step import Trained

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"near": (3, 0, 2)},
    "halved": {"near": (0, 1, 2, 3), "halvings": 1},
    "hybrid": {"near": (0, 2), "far": (3, 1)},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("some runs")
    for name, options in KINDS.items():
        open_run(write_transfer(folder / name, **options))  # or all that follows would be in vain
    return folder


@pytest.fixture
def folder(runs: Path, tmp_path: Path) -> Path:
    """A copy of the plain one."""
    shutil.copytree(runs / "plain", tmp_path / "run")
    return tmp_path / "run"


def shown(run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shape = (2, len(run.selection.channels), 11, 14)
    return 3e4 + 1e4 * torch.randn(shape, generator=draw), torch.rand(shape, generator=draw) > 0.3


def trained_of(run: Run) -> Trained:
    return Trained(run.model, ())


def blueprint_of(folder: Path) -> Blueprint:
    return Blueprint.from_dict(json.loads((folder / "transfer.json").read_text()), 4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_opened_equal(kind: str, runs: Path, tmp_path: Path) -> None:
    first = open_run(runs / kind)
    blueprint = blueprint_of(runs / kind)
    saved = save_transfer(tmp_path / "again", trained_of(first), first.selection, first.record, blueprint)
    again = open_run(tmp_path / "again")
    assert again.record == saved.record == first.record
    assert again.record.transfer == ("auto" if kind == "hybrid" else "bottleneck")
    assert again.selection == first.selection
    assert blueprint_of(tmp_path / "again") == blueprint
    assert encoder_digest(again.model) == encoder_digest(first.model)
    ours, theirs = transfer_of(again.model), transfer_of(first.model)
    assert ours is not None
    assert theirs is not None
    assert ours.tables.digest == theirs.tables.digest
    with torch.inference_mode():
        said = again.model(*shown(again))
        assert torch.equal(said, first.model(*shown(first)))
    assert said.shape == (2, 3, 11, 14)
    assert said.std() > 0
    for name in ("transfer.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (runs / kind / name).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_blueprint_counts_what_its_tensors_hold_at_the_least(kind: str, runs: Path) -> None:
    least = blueprint_of(runs / kind).least
    held = sum(tensor.numel() for tensor in load_file(runs / kind / "model.safetensors").values())
    assert 0.5 * held < least <= held


def test_any_run_is_opened_and_one_with_a_link_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    run = open_run(folder)
    plain = MaskedNetwork(torch.zeros(4), torch.ones(4), HardGate(range(4)), make_network("small", 4, 3, 4))
    save_run(tmp_path / "plain", Trained(plain.eval(), ()), run.selection, replace(run.record, transfer="select"))
    assert transfer_of(open_run(tmp_path / "plain").model) is None
    with pytest.raises(RunError, match=r"sends features; load it with `geomask\.bottleneck\.run\.open_run`"):
        load_run(folder)
    assert load_record(folder).transfer == "bottleneck"


def test_a_plain_run_in_its_place_leaves_nothing_of_it(folder: Path) -> None:
    run = open_run(folder)
    plain = MaskedNetwork(torch.zeros(4), torch.ones(4), HardGate(range(4)), make_network("small", 4, 3, 4))
    save_run(folder, Trained(plain.eval(), ()), run.selection, replace(run.record, transfer="select"))
    assert not (folder / "transfer.json").exists()
    assert load_run(folder).record.transfer == "select"
    save_transfer(folder, trained_of(run), run.selection, run.record, Blueprint(*_parts(run)))
    assert open_run(folder).record == run.record


def _parts(run: Run) -> tuple[Any, ...]:
    """Of a plain one, as `write_transfer` makes it."""
    from geomask.bottleneck.encoder import Design
    from geomask.bottleneck.teacher import Cut

    link = transfer_of(run.model)
    assert link is not None
    cut = Cut(("0", "1", "2"), planes_last=False)
    sizes = link.tables.contexts, link.tables.counts.shape[2]
    return Design(3, 3, 8, 1, 3), tuple(link.near.tolist()), (), *sizes, 4, 1, cut


def test_a_save_that_was_cut_off_is_no_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has run.json is whole."""
    run, blueprint = open_run(folder), blueprint_of(folder)

    def fail(path: Path, text: str) -> None:
        if Path(path).name == "transfer.json":
            raise KeyboardInterrupt
        path.write_text(text)

    monkeypatch.setattr("geomask.train.run.write_text", fail)
    with pytest.raises(KeyboardInterrupt):
        save_transfer(folder, trained_of(run), run.selection, run.record, blueprint)
    with pytest.raises(RunError, match="no finished run"):
        open_run(folder)


def test_a_network_of_ones_own_is_opened_only_where_it_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "body_of_mine.py").write_text(
        "from geomask.train.networks import SmallNet\ndef make(channels, outputs):\n"
        "    return SmallNet(channels, outputs, 4, 0.4)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = open_run(folder)
    settings = {**run.record.settings, "network": "body_of_mine:make"}
    record = replace(run.record, settings=settings)
    save_transfer(folder, trained_of(run), run.selection, record, blueprint_of(folder))
    with pytest.raises(RunError, match="your own code, body_of_mine:make; say so with `network`"):
        open_run(folder)
    assert "body_of_mine" not in sys.modules
    found = open_run(folder, "body_of_mine:make")
    assert torch.equal(found.model(*shown(run)), run.model(*shown(run)))
    function = open_run(folder, lambda channels, outputs: make_network("small", channels, outputs, 4))
    assert torch.equal(function.model(*shown(run)), run.model(*shown(run)))


# --- what anybody may have changed ------------------------------------------------------------------------------------


def refused(folder: Path, network: Callable[[int, int], nn.Module] | None = None) -> str:
    """What opening it says: one error, of one line, for little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(RunError) as caught:
            open_run(folder, network)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < 50e6
    return str(caught.value)


TEXTS = {
    "no JSON": "no JSON",
    "empty": "",
    "a list": "[]",
    "a number": "17",
    "null": "null",
    "nested": "[" * 100_000 + "]" * 100_000,
    "of digits": "9" * 10_000,
    "not finite": '{"geomask": NaN}',
    "no text": "\ud800",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_no_blueprint_is_refused(text: str, folder: Path) -> None:
    (folder / "transfer.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert refused(folder).startswith(f"{folder}/transfer.json: ")


SIZES = ("channels", "latents", "width", "blocks", "around", "halvings")
NUMBERS = (-1, 0.5, 3.0, "3", None, True, [3], {"a": 1}, 2**31, 2**64, 10**400, float("nan"), float("inf"), 65_536)
CHANGES: list[dict[str, Any]] = [
    *({"geomask": value} for value in ("run", None, 3, ["transfer"])),
    *({"version": value} for value in (0, 2, "1", None, 1.5)),
    *({name: value} for name in ("contexts", "symbols", "features", "feature_stride") for value in NUMBERS),
    *({"contexts": value} for value in (0, MAX_CONTEXTS, MAX_CONTEXTS + 1)),
    *({"symbols": value} for value in (0, 1, 4096, 4097)),
    *({"feature_stride": value} for value in (0, 3, 2, 1 << 16)),
    *({"design": value} for value in (None, [], {}, 3, "x", {"channels": 3, "more": 1})),
    *({"near": value} for value in (None, 3, "abc", [], [0, 1], [0, 1, 1], [0, 1, 4], [0, 1, -1], [0, 1, 1.0])),
    *({"near": value} for value in ([0, 1, True], [[0], 1, 2], [0, 1, "2"], list(range(1000)), {"0": 1})),
    *({"near": value} for value in ([0, 2, 3], [3, 2, 0])),  # fine by itself; the tensors say otherwise
    *({"far": value} for value in (None, 3, "a", [4], [-1], [0, 0], [1], [None], [[1]])),
    *({"cut": value} for value in (None, [], {}, "x", {"parts": ["0"]}, {"parts": None, "planes_last": False})),
    *(
        {"cut": {"parts": parts, "planes_last": False}}
        for parts in ([], [""], ["nope"], ["0", "99"], ["0.weight"], ["forward"], [3], [None], "x", [["0"]], ["0"] * 9)
    ),
    {"cut": {"parts": ["0", "1", "2"], "planes_last": True}},
    {"more": 1},
    {"far": [1], "features": 0},
    {"features": 0},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(change)[:50])
def test_a_blueprint_that_was_changed_is_one_error(change: dict[str, Any], folder: Path) -> None:
    document = json.loads((folder / "transfer.json").read_text())
    (folder / "transfer.json").write_text(json.dumps({**document, **change}))
    refused(folder)


@pytest.mark.parametrize("name", SIZES)
def test_a_design_that_was_changed_is_one_error(name: str, folder: Path) -> None:
    document = json.loads((folder / "transfer.json").read_text())
    for value in NUMBERS:
        changed = {**document, "design": {**document["design"], name: value}}
        (folder / "transfer.json").write_text(json.dumps(changed))
        refused(folder)
    del document["design"][name]
    if name == "channels":
        (folder / "transfer.json").write_text(json.dumps(document))
        refused(folder)


def test_huge_parts_take_no_memory(folder: Path) -> None:
    """Each within its limit, and together terabytes."""
    document = json.loads((folder / "transfer.json").read_text())
    for change, design in (
        ({"symbols": 4096, "contexts": 255}, {"latents": 60_000, "width": 1, "blocks": 0}),
        ({"features": 65_536}, {"width": 9000, "blocks": 0}),
        ({"features": 1, "feature_stride": 65_536}, {"width": 9000, "blocks": 0}),
        ({}, {"width": 65_536, "blocks": 64}),
        ({}, {"around": 65_535}),
    ):
        (folder / "transfer.json").write_text(
            json.dumps({**document, **change, "design": {**document["design"], **design}})
        )
        assert "model.safetensors is too small for" in refused(folder)


def test_what_the_record_says_of_settings_is_checked(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    for settings in ({"steps": 0}, {"more": 1}, {"task": "x"}, {"network": "nope"}):
        (folder / "run.json").write_text(json.dumps({**document, "settings": {**document["settings"], **settings}}))
        with pytest.raises(GeomaskError) as caught:
            open_run(folder)
        assert "\n" not in str(caught.value)


# --- tensors ----------------------------------------------------------------------------------------------------------


def test_tensors_of_another_run_are_refused(folder: Path, runs: Path) -> None:
    for other in ("halved", "hybrid"):
        shutil.copy(runs / other / "model.safetensors", folder)
        assert "does not fit" in refused(folder)
    (folder / "model.safetensors").write_bytes(b"")
    assert "too small for" in refused(folder)
    (folder / "model.safetensors").write_bytes(b"x" * 100_000)
    assert "does not fit" in refused(folder)
    (folder / "model.safetensors").unlink()
    refused(folder)


def rewrite(folder: Path, **changes: torch.Tensor) -> None:
    """Give tensors other values; `__` stands for a dot."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, value in changes.items():
        assert name.replace("__", ".") in tensors
        tensors[name.replace("__", ".")] = value.contiguous()
    save_file(tensors, path)


def tensor(folder: Path, name: str) -> torch.Tensor:
    found: torch.Tensor = load_file(folder / "model.safetensors")[name].clone()
    return found


def test_tables_that_are_none_are_refused(folder: Path, runs: Path) -> None:
    whole = (runs / "plain" / "model.safetensors").read_bytes()
    counts, lows, cuts = (tensor(folder, f"network.{name}") for name in ("counts", "lows", "cuts"))
    negative = counts.clone()
    negative[0, 0, :2] += torch.tensor([-(1 << 21), 1 << 21], dtype=torch.int32)
    with_hole = counts.clone()
    with_hole[0, 0, 1] += with_hole[0, 0, 0]
    with_hole[0, 0, 0] = 0
    for changes, words in (
        ({"network__counts": counts + 1}, "each row adds up to"),
        ({"network__counts": torch.zeros_like(counts)}, "each row adds up to"),
        ({"network__counts": negative}, "each row adds up to"),
        ({"network__counts": with_hole}, "have a 0 among a latent's symbols"),
        ({"network__lows": lows + (1 << 29)}, "the limit is"),
        ({"network__cuts": cuts.flip(1)}, "do not ascend"),
        ({"network__lows": lows - 1}, "differ in their lows"),
        ({"network__near_side__highs": tensor(folder, "network.near_side.highs") + 1}, "differ in their highs"),
        ({"network__near_side__lows": torch.full((3, 1, 1), torch.nan)}, "differ in their lows"),
    ):
        (folder / "model.safetensors").write_bytes(whole)
        rewrite(folder, **changes)
        said = refused(folder)
        assert "model.safetensors" in said
        assert words in said


def test_what_either_side_sees_is_said_twice_and_has_to_agree(folder: Path, runs: Path, tmp_path: Path) -> None:
    rewrite(folder, network__near=torch.tensor([3, 0, 1]))
    assert "do not agree on what is near" in refused(folder)
    shutil.copytree(runs / "hybrid", tmp_path / "hybrid")
    rewrite(tmp_path / "hybrid", network__far=torch.tensor([1, 3]))
    assert "do not agree on what is far" in refused(tmp_path / "hybrid")


def test_the_gate_passes_all_channels_in_their_order(folder: Path) -> None:
    """Either side counts channels of the selection, not of what a gate makes of them."""
    for channels in ([1, 0, 2, 3], [0, 1, 2, -1], [0, 0, 2, 3]):
        rewrite(folder, gate__channels=torch.tensor(channels))
        assert "takes all channels of its selection in order" in refused(folder)
    rewrite(folder, gate__channels=torch.tensor([0, 1, 2, 9]))
    assert "names channels beyond" in refused(folder)


def test_a_network_that_was_named_and_is_another_is_refused(folder: Path) -> None:
    assert "cannot be cut" in refused(folder, lambda channels, outputs: nn.Conv2d(channels, outputs, 1))
    assert "does not fit" in refused(folder, lambda channels, outputs: make_network("small", channels, outputs, 9))
