from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are scripts: they import each other as ``python benchmarks/read.py`` finds them."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
