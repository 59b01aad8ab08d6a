"""What a mask adds to a training step, and what other ways to compute take away from it.

    python benchmarks/step.py [--quick] [--only small/64,priced] [--device cuda] [--json FILE] [--write]

Every contender makes the same step in turn, round after round, so that what else the machine does falls on all of them;
a ratio is the median over rounds. What the cases are stands in docs/benchmarks/step.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from names import names_of
from table import Column, Figures, Row, table, write_figures

from geomask.masks.any import AnyMask
from geomask.masks.gate import Choice, Gate
from geomask.masks.grain import Grain
from geomask.masks.hard import HardGate
from geomask.masks.priced import PricedGate
from geomask.masks.selector import ConcreteSelector
from geomask.train.batches import turned
from geomask.train.entry import find_entry
from geomask.train.network import MaskedNetwork
from geomask.train.networks import make_network
from geomask.train.objective import Objective
from geomask.train.settings import Settings
from geomask.train.update import make_optimizer, set_schedule, set_train_mode, take_step

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "step.md"

#: Chips in a step, pixels of their sides, classes; share of the channels that a selector has heads for.
CHIPS, SIDE, CLASSES, SHARE = 16, 64, 8, 0.1

#: Steps before the clock starts; compiling takes place in the first.
WARM_UP = 3


class Case(NamedTuple):
    """A network, and how many channels it is given."""

    network: str
    channels: int

    @property
    def name(self) -> str:
        """As tables and ``--only`` call it."""
        return f"{self.network.rpartition(':')[2]}/{self.channels}"


CASES = (Case("small", 64), Case("small", 140), Case("smp:unet-resnet18", 64), Case("smp:unet-resnet18", 140))


class NoGate(Gate):
    """The network's own step: nothing is between it and its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._channels = channels

    @property
    def heads(self) -> int:
        """All channels."""
        return self._channels

    def draw(self, image: torch.Tensor) -> Choice:
        """Nothing."""
        return (image.new_zeros(()),)

    def apply_choice(self, image: torch.Tensor, choice: Choice) -> torch.Tensor:
        """The image itself."""
        return image

    def freeze(self) -> NoGate:
        """Itself."""
        return self


def _grain(channels: int) -> Grain:
    return Grain(tuple(range(channels)))


def _priced(channels: int, versions: int = 1) -> Gate:
    prices = np.random.default_rng(0).uniform(1, 4, (versions, channels, 1, 1))
    return PricedGate(_grain(channels), prices, SHARE * float(prices[0].sum()))


def _heads(channels: int) -> int:
    return max(1, round(SHARE * channels))


#: Masks by name, of so many channels.
MASKS: dict[str, Callable[[int], Gate]] = {
    "network": NoGate,
    "network of the heads": lambda channels: HardGate(range(_heads(channels))),
    "selector": lambda channels: ConcreteSelector(channels, _heads(channels)),
    "priced": _priced,
    "any": lambda channels: AnyMask(_grain(channels)),
    "blocks": lambda channels: AnyMask(Grain((0,) * channels, 4, 4)),
}

#: Ways to compute the network's own step.
WAYS: dict[str, Settings] = {
    "channels first": Settings(channels_last=False),
    "bf16": Settings(precision="bf16"),
    "compiled": Settings(compile=True),
    "compiled bf16": Settings(compile=True, precision="bf16"),
}

CONTENDERS = (*MASKS, *WAYS)


class Contender:
    """A model that makes steps on the chips of a case."""

    def __init__(self, name: str, case: Case, device: torch.device) -> None:
        self._settings = WAYS.get(name, Settings())
        torch.manual_seed(0)
        gate = MASKS.get(name, NoGate)(case.channels)
        network = make_network(case.network, gate.heads, CLASSES)
        if self._settings.channels_last:
            network = network.to(memory_format=torch.channels_last)
        shape = torch.zeros(case.channels), torch.ones(case.channels)
        objective = Objective(outputs=CLASSES, smoothing=self._settings.smoothing)
        self._model = MaskedNetwork(*shape, gate, network, objective).to(device)
        if not self._settings.compile:
            self._model.entry = find_entry(network, gate, (SIDE, SIDE))
        self._network = torch.compile(self._model.network) if self._settings.compile else self._model.network
        self._optimizer = make_optimizer(self._model, self._settings)
        self._step = 0

    def run(self, pixels: torch.Tensor, labels: torch.Tensor) -> float:
        """Make a step; seconds."""
        clock = _clock(pixels.device)
        start = clock()
        set_schedule(self._model, self._optimizer, self._settings, self._step % self._settings.turn)
        set_train_mode(self._model, self._settings)
        seen = turned(pixels, labels, self._model.gate)
        done = take_step(self._model, *seen, self._settings.precision == "bf16", self._network)
        self._optimizer.zero_grad()
        done.loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._step += 1
        return clock() - start


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds: of the processor, whatever else it does; on a GPU those that pass until it has done its work."""

    def passed() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return passed if device.type == "cuda" else time.process_time


def measure(case: Case, names: Sequence[str], device: torch.device, rounds: int) -> list[Row]:
    """Seconds of each contender, and what they are of those of the network, the first of `names`."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(CHIPS, case.channels, SIDE, SIDE, generator=generator).to(device)
    labels = torch.randint(CLASSES, (CHIPS, SIDE, SIDE), generator=generator).to(device)
    seconds: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    runners: dict[str, Contender] = {}
    for name in names:
        print(f" {name}", end="", file=sys.stderr, flush=True)
        try:
            runners[name] = Contender(name, case, device)
            for _ in range(WARM_UP):
                runners[name].run(pixels, labels)
            seconds[name] = []
        except Exception as error:  # noqa: BLE001  # a compiler that is not there raises what it likes
            runners.pop(name, None)
            failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    for _ in range(rounds):
        for name, runner in runners.items():
            seconds[name].append(runner.run(pixels, labels))
    print(file=sys.stderr)
    own = seconds.get(names[0], [])
    return [row for name in names for row in _rows(name, case, seconds.get(name), own, failed.get(name))]


def _rows(name: str, case: Case, seconds: list[float] | None, own: list[float], failed: str | None) -> list[Row]:
    """Medians; low and high are quartiles."""
    if seconds is None or not own:
        return [
            Row(name, case.name, metric, None, unit, note=failed or "the network makes no step")
            for metric, unit in UNITS.items()
        ]
    ratios = [one / other for one, other in zip(seconds, own, strict=True)]
    rows = []
    for metric, values in (("seconds", seconds), ("ratio", ratios)):
        low, high = np.quantile(values, (0.25, 0.75)).tolist()
        rows.append(Row(name, case.name, metric, median(values), UNITS[metric], len(values), low, high))
    return rows


UNITS = {"seconds": "s", "ratio": "fraction"}

COLUMNS = (
    Column("seconds", "ms a step", lambda row: f"{1e3 * (row.value or 0):.1f}"),
    Column("ratio", "ratio (quartiles)", lambda row: f"{row.value:.2f} ({row.low:.2f}-{row.high:.2f})"),
)


def main(arguments: Sequence[str] | None = None, cases: Sequence[Case] = CASES) -> None:
    """Measure, print the table, and write what was asked for."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(given.threads)
    only = set(given.only)
    names = [name for name in CONTENDERS if not only & set(CONTENDERS) or name in {"network", *only}]
    chosen = [case for case in cases if not only - set(CONTENDERS) or case.name in only]
    device, rows = torch.device(given.device), list[Row]()
    for case in chosen:
        print(f"{case.name}:", end="", file=sys.stderr)
        rows += measure(case, names, device, 10 if given.quick else 40)
    measured = Figures.now({"geomask": version("geomask"), "torch": version("torch")}, rows)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{given.threads} thread(s)"
    measured.machine["device"] = where
    print(table(measured, COLUMNS))
    if given.json:
        measured.save(given.json)
    if given.write:
        _write_page(measured, f"{where}. A quick run" if given.quick else where)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python benchmarks/step.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the rounds: under five minutes")
    parser.add_argument(
        "--only",
        type=names_of((*CONTENDERS, *(case.name for case in CASES))),
        default=(),
        metavar="NAMES",
        help="contenders, cases or both",
    )
    parser.add_argument("--device", default="cpu", help="as torch names it")
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the CPU; trainings have one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, tidy")
    parser.add_argument("--write", action="store_true", help=f"refresh the figures in {PAGE.relative_to(ROOT)}")
    return parser


def _write_page(measured: Figures, where: str) -> None:
    """Refresh the figures of the page."""
    shown = f"{measured.source()} On {where}.\n\n{table(measured, COLUMNS, markdown=True)}\n"
    write_figures(PAGE, shown)


if __name__ == "__main__":
    main()
