"""The package as it is installed and imported: what it exports, what it drags in, what lies in the wheel."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import geomask

CHECKOUT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]

EXPORTED = [
    "Band",
    "Channel",
    "Cost",
    "Cube",
    "GeomaskError",
    "Grid",
    "HeaderIndex",
    "Manifest",
    "Profile",
    "ReadRequest",
    "Receipt",
    "Selection",
    "Slot",
    "Window",
    "choose_grid",
    "compile_manifest",
    "index_headers",
    "index_selection",
    "load_items",
    "load_profile",
    "make_slots",
    "open_items",
    "parse_slots",
    "rank_items",
    "read_chip",
    "read_manifest",
    "save_items",
    "search",
]

READ_HALF = [
    *("errors", "atomic", "grid", "window", "quantity", "fault", "store", "signing", "fetch", "selection", "progress"),
    *("stac", "cog", "plan", "read"),
]
LEARNING = ["torch", "torchgeo", "lightning", "dask"]


def python(program: str, *options: str) -> str:
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def modules(part: str) -> list[str]:
    """A part of the package by its full name, and where it is a folder, every module in it."""
    folder = CHECKOUT / "geomask" / part
    found = [f"geomask.{part}.{file.stem}" for file in sorted(folder.glob("[!_]*.py"))]
    return [f"geomask.{part}", *found]


def test_exports_are_these() -> None:
    assert sorted(geomask.__all__) == EXPORTED


@pytest.mark.parametrize("name", EXPORTED)
def test_what_is_exported_is_there_and_documented(name: str) -> None:
    assert getattr(geomask, name).__doc__


def test_the_package_is_typed() -> None:
    assert (Path(geomask.__file__).parent / "py.typed").is_file()


def test_importing_warns_of_nothing_and_loads_nothing_heavy() -> None:
    loaded = set(python("import sys, geomask; print(*sys.modules)", "-W", "error").split())
    assert loaded.isdisjoint({*LEARNING, "numpy", "rasterio", "xarray", "pystac", "obstore"})


def test_the_read_half_imports_nothing_that_learns() -> None:
    names = [name for part in READ_HALF for name in modules(part)]
    assert len(names) > 25
    program = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    for other in {LEARNING}:
        if other in sys.modules:
            sys.exit(f"{{name}} imports {{other}}")
"""
    python(program)


def test_exports_are_reached_without_what_learns() -> None:
    program = "import sys, geomask; [getattr(geomask, name) for name in geomask.__all__]; print(*sys.modules)"
    assert set(python(program).split()).isdisjoint(LEARNING)


def test_every_package_is_listed() -> None:
    inside = {
        str(file.parent.relative_to(CHECKOUT)).replace("/", ".") for file in CHECKOUT.glob("geomask/**/__init__.py")
    }
    assert sorted(SETUPTOOLS["packages"]) == sorted({*inside, "geomask.catalogs", "geomask.cli"})


def test_the_wheel_holds_one_package_with_everything_in_it(tmp_path: Path) -> None:
    copy = tmp_path / "a copy"
    for folder in ("geomask", "catalogs", "cli"):
        shutil.copytree(CHECKOUT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / file, copy)
    # Without isolation nothing is downloaded: setuptools is here already.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, copy]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entry_points,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert "geomask = geomask.cli.main:geomask" in archive.read(entry_points).decode()
    data = (copy / "geomask" / "py.typed", copy / "geomask" / "plan" / "manifest.schema.json")
    sources = [*copy.glob("geomask/**/*.py"), *data]
    expected = {str(path.relative_to(copy)) for path in sources}
    expected |= {f"geomask/{path.relative_to(copy)}" for path in (*copy.glob("cli/*.py"), *copy.glob("catalogs/*"))}
    assert names == expected


def test_imports_go_down_only() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "geomask.example"])  # kept free for documentation
def test_no_test_gets_off_this_machine(host: str, refused: list[str]) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as direct:
        for connect in (direct.connect, direct.connect_ex, socket.create_connection):
            with pytest.raises(Exception, match=f"{host} is not this machine"):
                connect((host, 80))
    assert refused == [host] * 3
    refused.clear()  # or this test would fail for it
