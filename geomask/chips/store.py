"""A chip store: chips that were read once, mapped into memory. Training from it needs neither network nor files."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch.utils.data import Dataset

from ..cog.index import HeaderIndex
from ..errors import RunError
from ..grid import Grid, Window
from ..selection import Selection
from ..stac.search import load_items
from .memory import Chips as Chips
from .memory import read_chips as read_chips
from .sample import Sample, SampleForm, unstack
from .zarr_form import StoreArray, store_arrays

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from pystac import Item

VERSION = 1

#: Chunk files that one process has mapped at a time: each of them is an open file.
MAPS = 256


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """What a store says of itself, in the attributes of its ``zarr.json``."""

    digest: str
    """SHA-256 of what the chips were made from: the plan of all chips, and their labels."""
    grid: Grid
    chips: int
    size: tuple[int, int]
    """Rows and columns of a chip."""
    part: int
    """Chips in a chunk file."""
    dtype: str
    """numpy's name of the type of the image."""
    channels: tuple[tuple[str, str], ...]
    """(slot, band) of each channel."""
    scaling: tuple[tuple[float, float], ...]
    """(scale, offset) of each: physical value = value * scale + offset."""
    labelled: bool
    classes: tuple[str, ...] | None
    """Names of the labels' classes; None where they are numbers, or there are no labels."""

    @property
    def arrays(self) -> dict[str, StoreArray]:
        """By name."""
        return store_arrays(self.chips, len(self.channels), self.size, self.part, self.dtype, self.labelled)

    @property
    def parts(self) -> int:
        """Chunk files of each array but ``window``."""
        return -(-self.chips // self.part)

    def missing(self, folder: Path) -> list[int]:
        """Parts of which a chunk file is not there."""
        arrays = [array for name, array in self.arrays.items() if name != "window"]
        return [part for part in range(self.parts) if not all(array.is_there(folder, part) for array in arrays)]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises RunError where the folder holds no store, or one of another version."""
        path = folder / "zarr.json"
        try:
            said = json.loads(path.read_text(encoding="utf-8"))["attributes"]
            if said["geomask"] != "chips" or said["version"] != VERSION:
                raise RunError(f"{folder} holds no chips of version {VERSION}: make them anew with `geomask chips`")
            values = {name: said[name] for name in cls.__dataclass_fields__}
            for name in ("channels", "scaling"):
                values[name] = tuple((one, other) for one, other in values[name])
            rows, cols = (int(side) for side in values["size"])
            classes = None if values["classes"] is None else tuple(map(str, values["classes"]))
            record = cls(**{**values, "grid": Grid(**values["grid"]), "size": (rows, cols), "classes": classes})
            if min(record.chips, record.part, rows, cols, len(record.channels)) < 1:
                raise ValueError(f"{record.chips} chips of {record.size}, {record.part} in a part")
        except FileNotFoundError as error:
            raise RunError(f"{folder} is no chip store: it has no zarr.json; make one with `geomask chips`") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise error if isinstance(error, RunError) else RunError(f"{path} is broken: {error!r}") from error
        return record


class ChipStore(Dataset[Sample]):
    """The chips of a folder by position, as samples that are equal to a `StacDataset`'s.

    ``image`` is float32 whatever the type on disk: to convert what is mapped takes no longer than to copy it. The store
    pickles to its path, and maps its files anew in each process: it works in workers started in any way.
    """

    def __init__(self, folder: str | os.PathLike[str], *, series: bool = False) -> None:
        """`series` as `StacDataset` has it. Raises RunError where there is no store, or it is not complete."""
        self.folder = Path(folder)
        self.record = StoreRecord.load(self.folder)
        if missing := self.record.missing(self.folder):
            raise RunError(
                f"{self.folder} lacks {len(missing)} of {self.record.parts} parts; run the same `geomask chips` again"
            )
        self.grid, self.selection = self.record.grid, Selection.load(self.folder / "selection.json")
        if len(self.selection.channels) != len(self.record.channels):
            raise RunError(f"{self.folder}/selection.json is not the one that the chips were read by")
        self._form = SampleForm(self.selection, self.grid, series)
        self._arrays, self._maps = self.record.arrays, OrderedDict[tuple[str, int], np.ndarray]()
        self.windows = np.array(self._map("window", 0))
        """Where each chip lies on the grid, int64 (chips, 4), each row as `Window` has it."""

    def __len__(self) -> int:
        return self.record.chips

    def __getitem__(self, position: int | np.integer[Any] | Sequence[int]) -> Sample:
        """The sample of a chip, 0-based; a negative one counts from the end. Raises IndexError beyond.

        Of several positions the samples come stacked, with no copy in between, for a loader of whole batches:
        ``DataLoader(store, batch_size=None, sampler=BatchSampler(RandomSampler(store), 64, drop_last=False))``.
        """
        return (
            self.__getitems__([int(position)])[0] if isinstance(position, int | np.integer) else self._batch(position)
        )

    def __getitems__(self, positions: Sequence[int]) -> list[Sample]:
        """The samples of some chips. Raises IndexError for one that is not there."""
        return unstack(self._batch(positions))

    def load(self, positions: Sequence[int] | None = None) -> Chips:
        """Some chips, or all of them, in memory. Raises RunError where they have no labels."""
        if not self.record.labelled:
            raise RunError(f"the chips of {self.folder} have no labels to learn from; make them with --labels")
        image, valid, labels, windows = self._take(range(len(self)) if positions is None else positions)
        classes = len(self.record.classes) if self.record.classes is not None else int(labels.max()) + 1
        return Chips(image, valid, labels, windows, classes)

    @property
    def items(self) -> list[Item]:
        """The items that the chips were read from."""
        return load_items(self.folder / "items.json")

    @property
    def headers(self) -> HeaderIndex:
        """The headers of their files."""
        return HeaderIndex.load(self.folder / "headers.parquet")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}

    def _batch(self, positions: Sequence[int]) -> Sample:
        image, valid, masks, windows = self._take(positions)
        return self._form.batch(image, valid, windows, masks if self.record.labelled else None)

    def _take(self, positions: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[Window, ...]]:
        """Image, validity, labels, which are none where there are none, and windows of some chips."""
        places = [range(len(self))[position] for position in positions]
        arrays = (self._copy("image", places, np.float32), self._copy("valid", places, bool))
        masks = self._copy("mask", places, np.int64) if self.record.labelled else np.zeros(0, np.int64)
        return *arrays, masks, tuple(Window(*window) for window in self.windows[places].tolist())

    def _copy(self, name: str, places: Sequence[int], kind: Any) -> np.ndarray:
        """Some chips of an array, in a type of choice."""
        array = self._arrays[name]
        taken = np.empty((len(places), *array.shape[1:]), kind)
        for number, place in enumerate(places):
            part, at = divmod(place, array.part)
            taken[number] = self._map(name, part)[at]
        return taken

    def _map(self, name: str, part: int) -> np.ndarray:
        """A chunk file, mapped when it is first asked for."""
        key = name, part
        if (found := self._maps.get(key)) is None:
            try:
                found = self._maps[key] = self._arrays[name].map(self.folder, part)
            except (OSError, ValueError) as error:
                raise RunError(f"{self._arrays[name].path(self.folder, part)} is broken: {error}") from error
            if len(self._maps) > MAPS:
                self._maps.popitem(last=False)
        self._maps.move_to_end(key)
        return found
