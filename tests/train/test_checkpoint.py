import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from costs import priced

from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.errors import RunError
from geomask.masks.any import AnyMask
from geomask.masks.dynamic import DynamicScores
from geomask.masks.gate import Gate
from geomask.masks.grain import Grain
from geomask.masks.hard import HardGate
from geomask.masks.preview import Preview
from geomask.masks.priced import PricedGate
from geomask.masks.selector import ConcreteSelector
from geomask.train.baselines import train_within
from geomask.train.checkpoint import gate_state, set_gate_state
from geomask.train.journal import Journal
from geomask.train.step import Settings, Trained, Training

SPLIT = make_splits(12)[0]
QUICK = Settings(steps=40, check_every=5, batch=4)
GRAIN = Grain(tuple(range(12)))


class Killed(Exception):
    """In place of a signal, where the process is to go on."""


def any_mask() -> Gate:
    torch.manual_seed(3)
    return AnyMask(GRAIN, fine=0.1)


def priced_gate() -> Gate:
    torch.manual_seed(3)
    return PricedGate(GRAIN, np.arange(1.0, 13).reshape(1, 12, 1, 1), 30.0)


def blocks() -> Gate:
    torch.manual_seed(3)
    return AnyMask(Grain(tuple(range(12)), 2, 2), fine=0.1)


def dynamic() -> Gate:
    """Its theta is settled by the last batches, which it keeps."""
    torch.manual_seed(3)
    grain = Grain((0,) * 12, 2, 2)
    scores = DynamicScores("conv", (2, 4, 4), 1, grain.shape, [0.0])
    return PricedGate(grain, np.ones((1, 1, 2, 2)), 2.0, scores, Preview([4, 9], 2))


GATES: dict[str, Callable[[], Gate]] = {
    "hard": lambda: HardGate([4, 9]),
    "selector": lambda: ConcreteSelector(12, 3),
    "any": any_mask,
    "priced": priced_gate,
    "blocks": blocks,
    "dynamic": dynamic,
}


def kill_at(step: int) -> Callable[[], None]:
    count = iter(range(1, 10**6))

    def on_step() -> None:
        if next(count) == step:
            raise Killed

    return on_step


def same(one: Trained, other: Trained) -> bool:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("killed", [3, 13, 30, 37])  # before the first checkpoint, before and after the turn, and at it
@pytest.mark.parametrize("name", GATES)
def test_a_training_that_was_interrupted_ends_as_if_it_was_not(
    chips: Chips, tmp_path: Path, name: str, killed: int
) -> None:
    def train(folder: str, resume: bool, on_step: Callable[[], None] | None = None) -> Trained:
        journal = Journal(tmp_path / folder, on_step, resume=resume, every=6)
        return Training(chips, SPLIT, GATES[name](), QUICK, 1, journal).finish()

    whole = train("whole", False)
    with pytest.raises(Killed):
        train("cut", False, kill_at(killed))
    resumed = train("cut", True)
    assert same(resumed, whole)
    assert (resumed.curve, resumed.joint) == (whole.curve, whole.joint)
    assert (tmp_path / "cut/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()
    plain = Training(chips, SPLIT, GATES[name](), QUICK, 1).finish()
    assert same(plain, whole)  # to keep a journal changes nothing


def test_the_trainings_of_a_search_go_on_too(chips: Chips, tmp_path: Path) -> None:
    """Several trainings side by side, one of which is finished at the end."""
    prices = [4000 if channel % 2 else 500 for channel in range(12)]

    def train(folder: str, resume: bool, on_step: Callable[[], None] | None = None) -> Trained:
        journal = Journal(tmp_path / folder, on_step, resume=resume, every=6)
        return train_within(chips, SPLIT, priced(prices), 9000, QUICK, 0, journal)

    whole, steps = train("whole", False), 0
    steps = len((tmp_path / "whole/metrics.csv").read_text().splitlines()) - 1
    assert len(list((tmp_path / "whole/checkpoints").iterdir())) > 1
    assert steps > 8
    with pytest.raises(Killed):
        train("cut", False, kill_at(50))
    assert same(train("cut", True), whole)
    assert (tmp_path / "cut/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()


def test_what_is_resumed_is_not_trained_again(chips: Chips, tmp_path: Path) -> None:
    settings = Settings(steps=20, check_every=5)
    first = Training(chips, SPLIT, ConcreteSelector(12, 3), settings, 1, Journal(tmp_path)).finish()
    training = Training(chips, SPLIT, ConcreteSelector(12, 3), settings, 1, Journal(tmp_path, resume=True))
    assert training.step == 20
    assert same(training.finish(), first)


def test_without_resume_a_training_begins_anew(chips: Chips, tmp_path: Path) -> None:
    settings = Settings(steps=8, check_every=4)
    for seed in (1, 2):
        training = Training(chips, SPLIT, HardGate([4]), settings, seed, Journal(tmp_path))
        assert training.step == 0
        training.finish()


@pytest.mark.parametrize("what", ["settings", "seed", "gate", "chips"])
def test_a_checkpoint_of_another_training_is_an_error(chips: Chips, tmp_path: Path, what: str) -> None:
    from dataclasses import replace

    settings = Settings(steps=8, check_every=4)
    Training(chips, SPLIT, HardGate([4]), settings, 1, Journal(tmp_path)).finish()
    journal = Journal(tmp_path, resume=True)
    with pytest.raises(RunError, match="another training"):
        Training(
            replace(chips, image=chips.image + 1e-3 * (chips.labels[:, None] == 1)) if what == "chips" else chips,
            SPLIT,
            ConcreteSelector(12, 1) if what == "gate" else HardGate([4]),
            replace(settings, rate=1e-3) if what == "settings" else settings,
            2 if what == "seed" else 1,
            journal,
        )


def test_a_broken_checkpoint_is_an_error(chips: Chips, tmp_path: Path) -> None:
    settings = Settings(steps=8, check_every=4)
    Training(chips, SPLIT, HardGate([4]), settings, 1, Journal(tmp_path)).finish()
    path = tmp_path / "checkpoints" / "0000.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="is broken"):
        Training(chips, SPLIT, HardGate([4]), settings, 1, Journal(tmp_path, resume=True))


@pytest.mark.parametrize("name", GATES)
def test_the_state_of_a_gate_is_put_into_another_one(name: str) -> None:
    one, other = GATES[name](), GATES[name]()
    one.train()
    one.anneal(0.7)
    for parameter in one.parameters():
        parameter.data += torch.randn_like(parameter)
    image = torch.randn(5, 12, 8, 8)
    torch.manual_seed(0)
    one(image)  # what it notes while drawing
    set_gate_state(other, gate_state(one))
    found, want = gate_state(other), gate_state(one)
    assert found.keys() == want.keys()
    assert all(torch.equal(found[key], want[key]) for key in want)
    torch.manual_seed(1)
    drawn = one(image)
    torch.manual_seed(1)
    assert torch.equal(other.train()(image), drawn)


PROGRAM = """
import sys, time
import numpy as np
import torch
from geomask.chips.memory import Chips
from geomask.chips.split import make_splits
from geomask.grid import Window
from geomask.masks.selector import ConcreteSelector
from geomask.train.journal import Journal
from geomask.train.step import Settings, Training


def train(folder, pause, resume):
    image = np.random.default_rng(0).normal(0, 1, (12, 12, 8, 8)).astype("float32")
    labels = (image[:, 4] + image[:, 9] > 0).astype("int64")
    chips = Chips(image, np.ones(image.shape, bool), labels, tuple(Window(0, 8 * n, 8, 8) for n in range(12)), 2)
    settings = Settings(steps=60, check_every=5)
    journal = Journal(folder, lambda: time.sleep(pause), resume=resume, every=5)
    return Training(chips, make_splits(12)[0], ConcreteSelector(12, 3), settings, 4, journal).finish()


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(sys.argv[1], 0.1, False)
"""


def test_a_process_that_was_killed_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    cut = subprocess.Popen([sys.executable, tmp_path / "program.py", tmp_path / "cut"])
    try:
        train = runpy.run_path(str(tmp_path / "program.py"))["train"]
        whole = train(tmp_path / "whole", 0, False)
        deadline, kept = time.monotonic() + 120, tmp_path / "cut" / "checkpoints" / "0000.safetensors"
        while not kept.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.25)  # so that steps beyond the checkpoint are lost
    finally:
        cut.send_signal(signal.SIGKILL)
    assert cut.wait() == -signal.SIGKILL  # it was under way
    assert kept.exists()
    resumed = train(tmp_path / "cut", 0, True)
    assert same(resumed, whole)
    assert (resumed.curve, resumed.joint) == (whole.curve, whole.joint)
    assert (tmp_path / "cut/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()
