"""`geomask --help` answers at once: it loads nothing that a command needs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("geomask")
HEAVY = {"numpy", "pystac", "pystac_client", "rasterio", "requests", "scipy", "shapely", "torch", "torchgeo", "xarray"}


def seconds(*line: object) -> float:
    start = time.perf_counter()
    subprocess.run(list(map(str, line)), check=True, capture_output=True)
    return time.perf_counter() - start


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["search", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    program = (
        "import sys; from geomask.cli.main import geomask; geomask(sys.argv[1:], standalone_mode=False); "
        "print(*sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", program, *args], check=True, capture_output=True, text=True).stdout
    loaded = {name.partition(".")[0] for name in output.splitlines()[-1].split()}
    assert "click" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_help_takes_at_most_five_times_the_import_of_click() -> None:
    # the best of several: whatever else the machine does only ever adds time
    pairs = [(seconds(SCRIPT, "--help"), seconds(sys.executable, "-c", "import click")) for _ in range(6)]
    help_time, click_time = (min(times) for times in zip(*pairs, strict=True))
    assert help_time <= 5 * click_time, f"--help {help_time:.3f} s, import click {click_time:.3f} s"
