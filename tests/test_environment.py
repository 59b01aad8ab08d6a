"""environment.yml names the user's packages as pyproject.toml does."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

CHECKOUT = Path(__file__).parents[1]
USERS_PACKAGES = {"torch", "torchgeo", "rasterio", "xarray", "dask", "numpy", "pystac-client"}
NAMES_ON_PYPI = {"pytorch": "torch"}
# xarray imports dask when a user passes `chunks=`, geomask for workers alone: pyproject.toml has it as an extra.
ONLY_IN_ENVIRONMENT = {"dask"}

ENVIRONMENT: dict[str, Any] = yaml.safe_load((CHECKOUT / "environment.yml").read_text())
PROJECT: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
TOOLS = {"python", "pip"}


def conda_packages() -> dict[str, SpecifierSet]:
    """Every conda package under its name on PyPI; conda's `name >=1` reads as a requirement there too."""
    found = [Requirement(entry) for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    return {NAMES_ON_PYPI.get(package.name, package.name): package.specifier for package in found}


def dependencies() -> dict[str, SpecifierSet]:
    return {found.name: found.specifier for found in map(Requirement, PROJECT["dependencies"])}


def test_comes_from_conda_forge_alone() -> None:
    assert ENVIRONMENT["name"] == "geomask"
    assert ENVIRONMENT["channels"] == ["conda-forge"]


def test_names_the_users_packages() -> None:
    assert set(conda_packages()) - TOOLS == USERS_PACKAGES


@pytest.mark.parametrize("name", sorted(USERS_PACKAGES - ONLY_IN_ENVIRONMENT))
def test_floors_are_those_of_pyproject(name: str) -> None:
    assert conda_packages()[name] == dependencies()[name]


def test_the_exceptions_are_exceptions() -> None:
    assert not ONLY_IN_ENVIRONMENT & set(dependencies())


def test_pythons_are_those_of_pyproject() -> None:
    prefix = "Programming Language :: Python :: 3."
    minors = [int(line.removeprefix(prefix)) for line in PROJECT["classifiers"] if line.startswith(prefix)]
    python = conda_packages()["python"]
    assert python == SpecifierSet(f"{PROJECT['requires-python']},<3.{max(minors) + 1}")
    assert all(python.contains(f"3.{minor}") for minor in minors)


def test_installs_the_project() -> None:
    (pip,) = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    (line,) = pip
    assert line.startswith("-e .")
    extras = Requirement(f"geomask{line.removeprefix('-e .')}").extras
    assert extras <= set(PROJECT["optional-dependencies"])
