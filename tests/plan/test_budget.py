import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomask.errors import SelectionError
from geomask.plan.budget import Budget
from geomask.quantity import parse_bytes


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("5%", 100),
        ("0.5%", 10),
        ("250", 250),
        ("1e3", 1000),
        ("2kB", 2000),
        ("1.5 MB", 1_500_000),
        ("2KiB", 2048),
        ("3B", 3),
    ],
)
def test_a_budget_is_a_share_of_dense_or_bytes(text: str, nbytes: float) -> None:
    assert Budget.parse(text).nbytes(2000) == nbytes


@pytest.mark.parametrize(("text", "nbytes"), [("2s", 2_000_000), ("1.5s", 1_500_000), ("100ms", 100_000)])
def test_seconds_are_the_bytes_of_a_bandwidth(text: str, nbytes: float) -> None:
    assert Budget.parse(text).nbytes(10, bandwidth=8e6) == pytest.approx(nbytes)


def test_seconds_without_a_bandwidth_say_nothing() -> None:
    with pytest.raises(SelectionError, match=r"1\.5 s says nothing without a bandwidth"):
        Budget.parse("1.5s").nbytes(2000)


@pytest.mark.parametrize("text", ["", "%", "s", "ten", "5 %%", "2XB", "MB", "1h", "-2s", "2 MBs"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SelectionError, match="a budget is a percentage such as 10%"):
        Budget.parse(text)


@given(st.integers(0, 10**6), st.sampled_from([("", 1), ("kB", 1000), ("MiB", 1024**2), ("GB", 10**9), (" B", 1)]))
def test_units_of_bytes_are_powers_of_a_thousand_or_of_1024(number: int, unit: tuple[str, int]) -> None:
    assert parse_bytes(f"{number}{unit[0]}") == number * unit[1]
