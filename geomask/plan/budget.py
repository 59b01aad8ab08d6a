"""A budget as people write it: a share of all bytes, bytes, or the seconds that they take at a bandwidth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import SelectionError
from ..quantity import parse_bytes, parse_duration


@dataclass(frozen=True, slots=True)
class Budget:
    """A ceiling of bytes."""

    number: float
    unit: Literal["%", "byte", "s"]
    """``%``: of the dense plan; ``byte``; ``s``: seconds on the wire."""

    @classmethod
    def parse(cls, text: str) -> Budget:
        """From ``10%``, ``250000``, ``2MB`` or ``1.5s``. Raises SelectionError where it is none of these."""
        try:
            if text.endswith("%"):
                return cls(float(text.removesuffix("%")), "%")
            if text.endswith("s"):
                return cls(parse_duration(text), "s")
            return cls(parse_bytes(text), "byte")
        except ValueError:
            raise SelectionError(
                f"a budget is a percentage such as 10%, bytes such as 250000 or 2MB, or seconds such as 1.5s, "
                f"not {text!r}"
            ) from None

    def nbytes(self, dense: int, bandwidth: float | None = None) -> float:
        """Bytes, where the dense plan has `dense`; `bandwidth` is in bit/s.

        Seconds are those of the bytes alone: how long the server takes to answer depends on how many requests are under
        way. Raises SelectionError for seconds without a bandwidth.
        """
        if self.unit == "%":
            return self.number / 100 * dense
        if self.unit == "byte":
            return self.number
        if bandwidth is None:
            raise SelectionError(f"a budget of {self.number:g} s says nothing without a bandwidth: name one")
        return self.number * bandwidth / 8
