"""A dynamic mask in files: given the preview of a chip, it says which blocks of which channels are read.

::

    POLICY/policy.json            what it chooses from, and by which rule (`Terms`): one JSON object
    POLICY/policy.safetensors     weights of its scores, and the prices of the units
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch

from ..atomic import atomic_path, write_text
from ..errors import GeomaskError, RunError, SelectionError
from .dynamic import DynamicScores
from .market import Market
from .terms import Terms

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from ..selection import Selection
    from ..window import Window
    from .priced import PricedPolicy

VERSION = 1
#: What a stranger's JSON and weights may raise beside our own errors; RecursionError is a RuntimeError.
BROKEN = (RuntimeError, KeyError, TypeError, ValueError, AttributeError, OverflowError)


class Answer(NamedTuple):
    """Windows of the grid in which the same channels are read, at the same levels."""

    selection: Selection
    windows: tuple[Window, ...]
    """Blocks, by chip, row and column: small chips for `compile_manifest`."""


@dataclass(frozen=True, eq=False)
class Policy:
    """Of each unit the version of the greatest score - theta * price, if that is above 0; scores are by the preview.

    The rule is that of a frozen `PricedGate` of dynamic scores. The bytes of an answer are those of its manifests; what
    the preview takes comes on top, once a chip, whatever the answer.
    """

    terms: Terms
    scores: DynamicScores
    """In eval mode, on the CPU."""
    market: Market
    """Prices of the units in bytes, float64 (versions, groups, rows, columns); infinite for what is never read."""

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other. Raises SelectionError."""
        terms = self.terms
        shape = (len(terms.levels), *terms.grain.shape)
        found = (self.scores.versions, *self.scores.shape)
        if found != shape or self.market.prices.shape != shape:
            raise SelectionError(f"scores of {found} and prices of {self.market.prices.shape} for units of {shape}")
        self.scores.eval().requires_grad_(requires_grad=False)

    @classmethod
    def of(
        cls,
        gate: PricedPolicy,
        selection: Selection,
        size: tuple[int, int],
        preview_level: int | None,
        mean: Sequence[float],
        deviation: Sequence[float],
        levels: Sequence[int | None] = (None,),
    ) -> Self:
        """Of a frozen gate, and what `Terms` says besides.

        Raises SelectionError where its scores are static or of a model without a name, or the parts do not fit.
        """
        scores, preview = gate.scores, gate.preview
        if not isinstance(scores, DynamicScores) or scores.name is None or preview is None:
            raise SelectionError("a policy is made of DynamicScores of a named model, and a preview")
        terms = Terms(
            selection=selection,
            levels=tuple(levels),
            grain=gate.grain,
            size=size,
            preview=preview,
            preview_level=preview_level,
            mean=tuple(map(float, mean)),
            deviation=tuple(map(float, deviation)),
            model=scores.name,
            theta=gate.theta,
        )
        return cls(terms, scores.cpu(), Market(gate.market.prices))

    def show(self, image: np.ndarray, valid: np.ndarray) -> Tensor:
        """The preview as the scores see it, float32 (chips, channels, rows, columns).

        `image`, stored values, and `valid`, bool, are (chips, channels of the preview, rows, columns), as a manifest of
        `terms.preview_selection` gives them: in pixels of the grid. Raises SelectionError for another shape.
        """
        terms = self.terms
        wanted = (len(terms.preview.channels), *terms.size)
        if image.shape[1:] != wanted or valid.shape != image.shape:
            raise SelectionError(f"a preview of {image.shape[1:]} pixels; this policy looks at {wanted}")
        mean, deviation = (np.array(part, np.float32)[:, None, None] for part in (terms.mean, terms.deviation))
        shown = np.where(valid, (image - mean) / deviation, 0).astype(np.float32)
        # An overview's pixel fills factor x factor of the grid's.
        step = terms.preview.factor
        return torch.from_numpy(shown)[..., ::step, ::step]

    @torch.no_grad()
    def choose(self, preview: Tensor) -> np.ndarray:
        """What is read of each chip, bool (chips, versions, groups, rows, columns), by what `show` gave."""
        chosen = self.market.decide(self.scores(preview), self.terms.theta)
        found: np.ndarray = chosen.numpy() > 0
        return found

    @torch.no_grad()
    def within(self, budget: float, preview: Tensor) -> Policy:
        """The same, at the theta at which the chips that `show` gave this of take `budget` bytes on average at most.

        Chips of another place than those of training may look so different that theirs are not.
        """
        theta = self.market.settle(self.scores(preview), budget / self.market.unit)
        return replace(self, terms=replace(self.terms, theta=theta))

    def answer(self, image: np.ndarray, valid: np.ndarray, chips: Sequence[Window]) -> list[list[Answer]]:
        """What to read for each of `chips`, by its preview: an answer for each set of channels and levels.

        A chip of which nothing is read has none. Raises as `show` does, and SelectionError for chips of another number
        or size.
        """
        if len(chips) != len(image) or any((chip.height, chip.width) != self.terms.size for chip in chips):
            raise SelectionError(f"{len(chips)} chips for {len(image)} previews; each has {self.terms.size} pixels")
        choices = self.choose(self.show(image, valid))
        return [self._answer(choice, chip) for choice, chip in zip(choices, chips, strict=True)]

    def _answer(self, choice: np.ndarray, chip: Window) -> list[Answer]:
        """`choice` is bool (versions, groups, rows, columns)."""
        level_of = np.where(choice.any(0), choice.argmax(0), -1)  # the version of each unit, (groups, rows, columns)
        found: dict[tuple[int, ...], list[Window]] = {}
        for row, windows in enumerate(self.terms.windows(chip)):
            for column, window in enumerate(windows):
                versions = tuple(level_of[:, row, column].tolist())
                if max(versions) >= 0:
                    found.setdefault(versions, []).append(window)
        return [Answer(self._selection(versions), tuple(windows)) for versions, windows in found.items()]

    def _selection(self, versions: tuple[int, ...]) -> Selection:
        """The channels of the groups that are read (version -1: not at all), each at its version's level."""
        terms = self.terms
        taken = [
            replace(channel, level=terms.levels[versions[group]])
            for channel, group in zip(terms.selection.channels, terms.grain.groups, strict=True)
            if versions[group] >= 0
        ]
        return replace(terms.selection, channels=tuple(taken))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write both files, each whole or not at all. Raises RunError where the folder cannot be written to."""
        from safetensors.torch import save

        tensors = {name: tensor.contiguous() for name, tensor in self.scores.state_dict().items()}
        tensors["prices"] = torch.from_numpy(self.market.prices)
        if Path(folder).is_file():
            raise RunError(f"{folder} is a file; name a folder for the policy")
        # policy.json goes first and comes last: a folder that has one is whole.
        (Path(folder) / "policy.json").unlink(missing_ok=True)
        with atomic_path(Path(folder) / "policy.safetensors") as draft:
            draft.write_bytes(save(tensors))
        document = {"geomask": "policy", "version": VERSION, **self.terms.to_dict()}
        write_text(Path(folder) / "policy.json", json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises RunError where it is missing, broken, foreign or of another version."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            document = json.loads((Path(folder) / "policy.json").read_text(encoding="utf-8"))
            if not isinstance(document, dict) or document.get("geomask") != "policy":
                raise RunError(f"{folder} holds no geomask policy")
            if document.get("version") != VERSION:
                raise RunError(
                    f"{folder} is a policy of version {document.get('version')}; this geomask reads version {VERSION}"
                )
            terms = Terms.from_dict(document)
            tensors = load((Path(folder) / "policy.safetensors").read_bytes())
            market = Market(tensors.pop("prices").double().numpy())
            return cls(terms, _restore(terms, tensors), market)
        except RunError:
            raise
        except OSError as error:
            raise RunError(f"cannot read the policy {folder}: {error.strerror or error}") from error
        except (GeomaskError, SafetensorError, *BROKEN) as error:
            raise RunError(f"a broken policy {folder}: {' '.join(str(error).split())}") from error


def join_answers(answers: Iterable[Answer]) -> list[Answer]:
    """Answers of many chips with one for each selection: as few manifests as there can be."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        found.setdefault(answer.selection.digest, []).append(answer)
    return [
        Answer(same[0].selection, tuple(window for answer in same for window in answer.windows))
        for same in found.values()
    ]


def _restore(terms: Terms, tensors: dict[str, Tensor]) -> DynamicScores:
    """Scores of these weights. Raises RuntimeError where they do not fit the model."""
    shape = terms.grain.shape
    # On no device: sizes are a stranger's, and nothing of them is allocated. What is there came with the file.
    with torch.device("meta"):
        starts = [0.0] * len(terms.levels)
        scores = DynamicScores(terms.model, terms.preview.size(terms.size), len(starts), shape, starts)
    kinds = {name: weight.dtype for name, weight in scores.state_dict().items()}
    if any(kinds.get(name) not in (None, weight.dtype) for name, weight in tensors.items()):
        raise TypeError("weights of another type than the model's")
    if not all(weight.isfinite().all() for weight in tensors.values()):
        raise ValueError("weights that are no finite numbers")
    scores.load_state_dict(tensors, assign=True)
    return scores
