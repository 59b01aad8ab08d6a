"""`geomask train --transfer`: what crosses the link is features, pixels, or whichever of both does better.

===========  ===========================================================================================================
candidate    what crosses the link
===========  ===========================================================================================================
select       pixels of the channels that a method chooses within the budget
features     latents of a bottleneck of one lambda, decoded for the teacher
tuned        the same, its decoder and the rest of the teacher tuned on the task
mix          some latents and some channels, as the priced gate chooses (`train_mix`)
===========  ===========================================================================================================

Of those within the budget the best on validation is kept. The encoder sees what the method chooses within a budget of
its own, which is of the archive's side: no byte of it crosses the link.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import SelectionError
from ..masks.hard import HardGate
from ..train.baselines import train_method
from ..train.candidates import Candidate
from ..train.network import MaskedNetwork
from ..train.score import score
from .distil import Lesson
from .mix import Mix, train_mix
from .rates import Pupil, Rate, feature_nbytes, make_rates
from .run import Blueprint, save_transfer
from .shared import SharedEncoder

if TYPE_CHECKING:
    from ..train.baselines import Method
    from ..train.run import Run
    from ..train.settings import Settings
    from ..train.step import Trained
    from ..train.task import Task

TransferKind = Literal["select", "bottleneck", "auto"]
KINDS: tuple[TransferKind, ...] = get_args(TransferKind)
#: Of all bytes, what the encoder may read beside the data.
NEAR = "20%"


@dataclass(frozen=True)
class Offer:
    """A candidate."""

    name: str
    trained: Trained
    validation: float
    nbytes: int
    """That cross the link, over what the task's costs are over."""
    feature_nbytes: int = 0
    """Of them, those of features."""
    blueprint: Blueprint | None = None
    """None where it sends pixels alone."""


@dataclass(frozen=True)
class Contest:
    """What all candidates are trained on."""

    task: Task
    method: Method
    fold: int
    seed: int
    settings: Settings
    on_step: Callable[[], object] | None = None

    def train(self, nbytes: int) -> Trained:
        """A network of the channels that the method chooses within so many bytes."""
        task, split = self.task, self.task.splits[self.fold]
        return train_method(self.method, task.chips, split, task.cost, nbytes, self.settings, self.seed, self.on_step)

    def score(self, model: MaskedNetwork) -> float:
        """On the validation chips."""
        return score(model, self.task.chips, self.task.splits[self.fold].validation, self.settings.batch)


def train_transfer(
    task: Task,
    kind: TransferKind,
    method: Method,
    fold: int,
    seed: int,
    budget: str,
    settings: Settings,
    folder: Path,
    on_step: Callable[[], object] | None = None,
    bandwidth: float | None = None,
    near: str = NEAR,
    encoder: SharedEncoder | None = None,
) -> Run:
    """Train what `kind` says on one split, and write the run of the best candidate within the budget.

    ``bottleneck``: features alone; ``auto``: all candidates. `near` is the encoder's budget, `bandwidth`, bit/s, is for
    budgets in seconds. `encoder` is one that is there already: it stays as it is, and sees what it sees. Raises
    SelectionError where the task has versions, the network cannot be cut, or nothing fits the budget, and what training
    and saving raise.
    """
    if kind not in ("bottleneck", "auto"):
        raise SelectionError(f"no transfer {kind!r} of features; choose bottleneck or auto")
    if task.versions is not None:
        raise SelectionError("features are of channels at full resolution; leave levels and other assets out")
    contest = Contest(task, method, fold, seed, settings, on_step)
    # Features may take less than any channel does.
    limit, split = task.cost.budget(budget, bandwidth, 0.0), task.splits[fold]
    lesson = lesson_of(settings)
    if encoder is None:
        pupil = Pupil.of(contest.train(task.budget(near, bandwidth)), task.chips, split)
        rates = list(make_rates(pupil, task.chips, split, pupil.design(), lesson, seed, on_step=on_step))
    else:
        pupil, rate = encoder.teach(task, fold, seed, settings, lesson, on_step)
        rates = [rate]
    offers = [offer for rate in rates for offer in _features(contest, pupil, rate)]
    if kind == "auto":
        offers += [*_select(contest, limit), *_mixes(contest, pupil, rates, limit)]
    fitting = [offer for offer in offers if offer.nbytes <= limit]
    if not fitting:
        least = min(offer.nbytes for offer in offers)
        raise SelectionError(f"a budget of {limit:,} bytes holds no candidate; the smallest takes {least:,}")
    best = max(fitting, key=lambda offer: offer.validation)
    return _save(contest, best, offers, kind, budget, folder)


def lesson_of(settings: Settings) -> Lesson:
    """How long a bottleneck is trained, by how long networks are."""
    return Lesson(
        steps=3 * settings.steps,
        settling=settings.steps,
        tuning=settings.steps,
        batch=settings.batch,
        learning_rate=settings.rate,
        decay=settings.decay,
    )


def _features(contest: Contest, pupil: Pupil, rate: Rate) -> list[Offer]:
    """A bottleneck as it was distilled, and tuned."""
    task, split = contest.task, contest.task.splits[contest.fold]
    bits = float(rate.bits(pupil, task.chips.take([*split.train, *split.validation])).sum())
    nbytes = feature_nbytes(bits, task.area)
    design, teacher, tables = rate.distilled.design, pupil.teacher, rate.tables
    blueprint = Blueprint(
        design,
        tuple(range(design.channels)),
        (),
        tables.contexts,
        tables.counts.shape[2],
        teacher.features,
        teacher.stride,
        teacher.cut,
    )
    offers = []
    for name, is_tuned in (("features", False), ("tuned", True)):
        model = over_all(rate.model(pupil, is_tuned=is_tuned), pupil, task.chips.image.shape[1])
        trained = _trained(model)
        label = f"{name} {rate.rate_weight:g}" if rate.rate_weight else f"{name} of a shared encoder"
        offers.append(Offer(label, trained, contest.score(model), nbytes, nbytes, blueprint))
    return offers


def over_all(model: MaskedNetwork, pupil: Pupil, channels: int) -> MaskedNetwork:
    """A network of a pupil's channels as one of all channels, of which its gate passes those."""
    mean, deviation = model.mean.new_zeros(channels), model.deviation.new_ones(channels)
    at = list(pupil.planes)
    mean[at], deviation[at] = model.mean, model.deviation
    return MaskedNetwork(mean, deviation, HardGate(at), model.network, model.objective).eval()


def _select(contest: Contest, limit: int) -> list[Offer]:
    """The method's own channels; none where no channel fits the budget."""
    try:
        trained = contest.train(limit)
    except SelectionError:
        return []
    return [Offer("select", trained, contest.score(trained.model), contest.task.bill(trained).nbytes)]


def _mixes(contest: Contest, pupil: Pupil, rates: list[Rate], limit: int) -> list[Offer]:
    """Bands beside the latents of the finest bottleneck that takes at most half of the budget; none where none does."""
    task, split, offers = contest.task, contest.task.splits[contest.fold], list[Offer]()
    known = task.chips.take([*split.train, *split.validation])
    for rate in rates:
        if 2 * feature_nbytes(float(rate.bits(pupil, known).sum()), task.area) > limit:
            continue
        mix = train_mix(
            task.chips,
            split,
            task.cost,
            task.area,
            limit,
            pupil,
            rate,
            contest.settings,
            contest.seed,
            contest.on_step,
        )
        if mix is not None:
            offers.append(_offer_mix(contest, mix, rate))
        break
    return offers


def _offer_mix(contest: Contest, mix: Mix, rate: Rate) -> Offer:
    task = contest.task
    pixels = task.cost.bill(task.cost.selection.keep(mix.channels)).nbytes if mix.channels else 0
    tables = rate.tables
    blueprint = Blueprint(mix.design, mix.near, mix.far, tables.contexts, tables.counts.shape[2])
    validation = contest.score(mix.trained.model)
    return Offer("mix", mix.trained, validation, pixels + mix.feature_nbytes, mix.feature_nbytes, blueprint)


def _trained(model: MaskedNetwork) -> Trained:
    from ..train.step import Trained

    return Trained(model, ())


def _save(contest: Contest, best: Offer, offers: list[Offer], kind: TransferKind, budget: str, folder: Path) -> Run:
    task = contest.task
    tried = tuple(Candidate(one.name, tuple(one.trained.planes), one.validation) for one in offers)
    trained = replace(best.trained, candidates=tried, won=best.name)
    record = task.record(trained, contest.method, contest.fold, contest.seed, budget, contest.settings)
    record = replace(record, transfer=kind, planned_nbytes=best.nbytes, feature_nbytes=best.feature_nbytes)
    if best.blueprint is None:
        from ..train.run import save_run

        return save_run(folder, trained, task.selection, record)
    return save_transfer(folder, trained, task.selection, record, best.blueprint)
