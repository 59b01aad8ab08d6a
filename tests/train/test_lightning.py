import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from geomask.chips.sample import Sample
from geomask.chips.split import make_splits
from geomask.chips.store import Chips
from geomask.masks.hard import HardGate
from geomask.masks.selector import ConcreteSelector
from geomask.train.lightning import MaskedModule
from geomask.train.step import Settings, Training
from geomask.train.update import make_model

lightning = pytest.importorskip("lightning.pytorch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
    # Lightning 2.6's own, of torch's.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
]
SPLIT = make_splits(12)[0]


class Samples(Dataset[Sample]):
    """Chips in memory, as a chip store gives them."""

    def __init__(self, chips: Chips) -> None:
        self._chips = chips

    def __len__(self) -> int:
        return len(self._chips)

    def __getitem__(self, at: int) -> Sample:
        chips = self._chips
        parts = {"image": chips.image[at], "valid": chips.valid[at], "mask": chips.labels[at]}
        return {name: torch.from_numpy(part) for name, part in parts.items()}


def loader(chips: Chips) -> DataLoader[Sample]:
    # A generator of its own: a loader draws a seed from the global one.
    return DataLoader(Samples(chips), batch_size=len(chips), generator=torch.Generator())


class Legs(lightning.Callback):  # type: ignore[misc]
    """Seeds each leg as the plain loop does."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._starts, self._seed = (0, settings.turn), seed

    def on_train_batch_start(self, trainer: object, module: MaskedModule, *_: object) -> None:
        if module.global_step in self._starts:
            torch.manual_seed(self._seed * 1_000_003 + module.global_step)


@pytest.fixture
def fit(chips: Chips) -> MaskedModule:
    settings, seed = Settings(steps=12, check_every=4), 5
    torch.manual_seed(seed * 1_000_003)
    part = chips.take(SPLIT.train)
    module = MaskedModule(make_model(part, ConcreteSelector(12, 3), settings), settings)
    trainer = lightning.Trainer(
        max_steps=settings.steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Legs(settings, seed)],
        val_check_interval=1,
        check_val_every_n_epoch=4,
    )
    trainer.fit(module, loader(part), loader(chips.take(SPLIT.validation)))
    return module


def test_steps_are_those_of_the_plain_loop(fit: MaskedModule, chips: Chips) -> None:
    plain = Training(chips, SPLIT, ConcreteSelector(12, 3), fit.settings, 5).finish()
    trained = fit.trained()
    assert isinstance(trained.model.gate, HardGate)
    ours, theirs = trained.model.state_dict(), plain.model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    assert trained.curve == plain.curve[-1:]  # the plain loop checks at 12, Lightning at the ends of epochs 4, 8, 12
    assert trained.curve[-1][0] == 12
