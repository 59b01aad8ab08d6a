import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.chips.split import make_splits
from geomask.errors import SelectionError


@given(st.integers(8, 60), st.integers(2, 4), st.integers(0, 9))
def test_parts_are_disjoint_and_every_cell_is_tested_once(cells: int, folds: int, seed: int) -> None:
    splits = make_splits(cells, folds, seed=seed)
    for split in splits:
        parts = [*split.train, *split.validation, *split.test]
        assert sorted(parts) == list(range(cells))
        assert split.train
        assert split.validation
    assert sorted(cell for split in splits for cell in split.test) == list(range(cells))


def test_the_same_seed_gives_the_same_splits() -> None:
    assert make_splits(25, seed=1) == make_splits(25, seed=1) != make_splits(25, seed=2)


@pytest.mark.parametrize(("cells", "folds"), [(2, 2), (25, 1), (1, 2), (25, 30)])
def test_too_few_cells_are_an_error(cells: int, folds: int) -> None:
    with pytest.raises(SelectionError, match=f"{cells} cells are too few"):
        make_splits(cells, folds)
