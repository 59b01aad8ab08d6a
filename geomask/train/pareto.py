"""Score against bytes: what each budget of a curve came to, as a table that is kept with the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..atomic import atomic_path
from ..errors import RunError

if TYPE_CHECKING:
    import os

VERSION = b"1"
#: Where the file's metadata says what it is.
KEY = b"geomask_pareto"


@dataclass(frozen=True, slots=True)
class Point:
    """One budget. Scores are those of the task, fractions."""

    budget: str
    """As it was asked for; also the folder of its run."""
    budget_nbytes: int
    channels: int
    """That are read."""
    nbytes: int
    """Planned, headers included."""
    requests: int
    """Planned: one for each header, and each run of bytes beyond it."""
    seconds: float | None
    """On the wire for the bytes alone; None without a bandwidth."""
    joint_validation: float
    """As trained jointly: when the gate was frozen."""
    tuned_validation: float
    """Then the same network was tuned on what is left."""
    tuned_test: float
    retrained_validation: float
    """A network trained on the same channels from the start."""
    retrained_test: float
    kept: str
    """``tuned`` or ``retrained``: which network is the run's, by its score on validation."""

    @property
    def validation(self) -> float:
        """Of the network that was kept."""
        return self.tuned_validation if self.kept == "tuned" else self.retrained_validation

    @property
    def test(self) -> float:
        """Of the network that was kept."""
        return self.tuned_test if self.kept == "tuned" else self.retrained_test


@dataclass(frozen=True, slots=True)
class Pareto:
    """The points of a curve, the most bytes first."""

    points: tuple[Point, ...]

    @property
    def front(self) -> tuple[Point, ...]:
        """Those that no other beats: less bytes with as good a score, or a better score with as few, on validation."""
        return tuple(
            point
            for point in self.points
            if not any(
                other.nbytes <= point.nbytes
                and other.validation >= point.validation
                and (other.nbytes, other.validation) != (point.nbytes, point.validation)
                for other in self.points
            )
        )

    def rows(self) -> list[dict[str, Any]]:
        """A mapping for each point, with ``validation`` and ``test`` of the network that was kept, and ``front``."""
        front = self.front
        return [
            {**asdict(point), "validation": point.validation, "test": point.test, "front": point in front}
            for point in self.points
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``pareto.parquet``, whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "float | None": pa.float64()}
        schema = pa.schema([(field.name, kinds[str(field.type)]) for field in fields(Point)], {KEY: VERSION})
        with atomic_path(path) as draft:
            pq.write_table(pa.Table.from_pylist([asdict(point) for point in self.points], schema), draft)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises RunError where there is none, or it is another table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(Path(path))
            if (table.schema.metadata or {}).get(KEY) != VERSION:
                raise RunError(f"{path} is no table of a curve of version {VERSION.decode()}: train it anew")
            return cls(tuple(Point(**row) for row in table.to_pylist()))
        except (OSError, pa.ArrowException, TypeError) as error:
            raise RunError(f"{path} is no table of a curve: {error}") from error
