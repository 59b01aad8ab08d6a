"""The file that says which pixels see the ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ..errors import ItemError
from .values import each, record, text, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

#: Bits of the widest integer that a mask is stored in.
BITS = 64


@dataclass(frozen=True, slots=True)
class CloudMask:
    """A classification of pixels: either by classes, or by bits that are flags."""

    asset: str
    """The item's asset that holds it."""
    clear_classes: tuple[int, ...] = ()
    """Values that mean a clear view of the ground; every other value hides it."""
    cloudy_bits: tuple[int, ...] = ()
    """Bits of which each hides the ground where it is set, 0 the lowest; fill is one of them where it has a bit."""
    index: int = 1
    """Its band in the file, 1-based."""

    def __post_init__(self) -> None:
        """Refuse a mask by classes and bits, or by neither, and bits that no integer has."""
        if bool(self.clear_classes) == bool(self.cloudy_bits):
            raise ItemError("a cloud_mask has either clear_classes or cloudy_bits")
        if self.index < 1 or not all(0 <= bit < BITS for bit in self.cloudy_bits):
            raise ItemError(f"a cloud_mask's index counts from 1 and its bits from 0 to {BITS - 1}")

    def clear(self, values: np.ndarray) -> np.ndarray:
        """Whether each stored value, of any integer type, means a clear view: booleans of the same shape."""
        import numpy as np

        if self.clear_classes:
            known: np.ndarray = np.isin(values, self.clear_classes)
            return known
        hidden = sum(1 << bit for bit in set(self.cloudy_bits))
        within = hidden & ((1 << 8 * values.dtype.itemsize) - 1)  # numpy refuses a mask wider than the values
        unsigned = values.view(f"u{values.dtype.itemsize}")
        seen: np.ndarray = (unsigned & unsigned.dtype.type(within)) == 0
        return seen

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Of a mapping with these fields. Raises ItemError where one is missing, unknown or of the wrong kind."""
        return cls(**record("cloud_mask", values, _FIELDS, ("asset",)))


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "asset": text,
    "clear_classes": each(whole),
    "cloudy_bits": each(whole),
    "index": whole,
}
