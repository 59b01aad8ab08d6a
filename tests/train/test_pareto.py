from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import RunError
from geomask.train.pareto import Pareto, Point

POINT = Point("10%", 900, 3, 850, 6, 0.5, 0.5, 0.6, 0.61, 0.55, 0.56, "tuned")

share = st.floats(0, 1)
points = st.builds(
    Point,
    st.text(min_size=1),
    *(st.integers(0, 2**40) for _ in range(4)),
    st.none() | st.floats(0, 1e6),
    *(share for _ in range(5)),
    st.sampled_from(["tuned", "retrained"]),
)


@given(st.lists(points, max_size=4))
def test_a_table_is_read_back_equal(tmp_path_factory: pytest.TempPathFactory, made: list[Point]) -> None:
    path = tmp_path_factory.mktemp("pareto") / "pareto.parquet"
    Pareto(tuple(made)).save(path)
    assert Pareto.load(path) == Pareto(tuple(made))


def test_the_front_is_what_no_other_beats_on_validation() -> None:
    def point(nbytes: int, validation: float) -> Point:
        return replace(POINT, nbytes=nbytes, tuned_validation=validation)

    best, worse, cheap, same = point(900, 0.7), point(950, 0.7), point(100, 0.5), point(100, 0.5)
    assert Pareto((worse, best, cheap, same, point(500, 0.4))).front == (best, cheap, same)


def test_scores_are_those_of_the_network_that_was_kept() -> None:
    assert (POINT.validation, POINT.test) == (0.6, 0.61)
    retrained = replace(POINT, kept="retrained")
    assert (retrained.validation, retrained.test) == (0.55, 0.56)
    (row,) = Pareto((retrained,)).rows()
    assert row["test"] == 0.56
    assert row["front"] is True
    assert row["tuned_test"] == 0.61


def test_another_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no table of a curve"):
        Pareto.load(tmp_path / "absent.parquet")
    pq.write_table(pa.table({"budget": ["5%"]}), tmp_path / "other.parquet")
    with pytest.raises(RunError, match="version 1"):
        Pareto.load(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("score, bytes\n")
    with pytest.raises(RunError, match="no table of a curve"):
        Pareto.load(tmp_path / "text.parquet")
