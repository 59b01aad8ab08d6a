"""`.ci/bootstrap.sh` finds a Python, says what is wrong when there is none, and does nothing twice.

Nothing is installed: every Python here is a shell script that answers what the test wants, on a PATH, in a home and
under a root of the test's own.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[1]
SH = shutil.which("sh") or "/bin/sh"
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
VERSIONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def fake_python(path: Path, version: str = "3.13.1", lacks: str = "", base: Path | None = None) -> Path:
    """A Python that answers the bootstrap's question: its version, its executable, what it lacks."""
    return script(path, f"printf '%s\\n' '{version}' '{base or path}' '{lacks}'")


@dataclass
class Machine:
    root: Path

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def home(self) -> Path:
        return self.root / "my home"

    def environment(self, **extra: object) -> dict[str, str]:
        default = {"PATH": self.bin, "HOME": self.home, "GEOMASK_TEST_ROOT": self.root}
        return {name: str(value) for name, value in {**default, **extra}.items()}

    def find(self, **extra: object) -> subprocess.CompletedProcess[str]:
        command = [SH, str(CHECKOUT / ".ci" / "bootstrap.sh"), "--find-python"]
        return subprocess.run(command, env=self.environment(**extra), capture_output=True, text=True, check=False)

    def found(self, **extra: object) -> Path:
        answer = self.find(**extra)
        assert answer.returncode == 0, answer.stderr
        return Path(answer.stdout.removesuffix("\n"))

    def complaint(self, **extra: object) -> str:
        answer = self.find(**extra)
        assert answer.returncode == 1
        assert answer.stdout == ""
        assert answer.stderr.count("\n") == 1, answer.stderr
        return answer.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "a machine")
    made.bin.mkdir(parents=True)
    made.home.mkdir()
    return made


# ---- which Python ----


def test_classifiers_name_the_versions() -> None:
    assert VERSIONS == ["3.12", "3.13", "3.14"]
    assert PYPROJECT["project"]["requires-python"] == f">={VERSIONS[0]}"


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.11", "3.12", "3.13", "3.14", "3.15", "3.120"])
def test_takes_the_versions_of_the_classifiers(machine: Machine, version: str) -> None:
    python = fake_python(machine.bin / "python3", f"{version}.2")
    assert (machine.find().returncode == 0) == (version in VERSIONS)
    if version in VERSIONS:
        assert machine.found() == python


@pytest.mark.parametrize("version", ["3.14.0t", "pypy 3.12.1", "", "pyenv: command not found"])
def test_passes_over_other_builds_and_noise(machine: Machine, version: str) -> None:
    fake_python(machine.bin / "python3", version)
    python = fake_python(machine.bin / "python3.12", "3.12.0")
    assert machine.found() == python


def test_an_old_python3_gives_way_to_a_numbered_one(machine: Machine) -> None:
    fake_python(machine.bin / "python3", "3.11.9")
    python = fake_python(machine.bin / "python3.12", "3.12.3")
    assert machine.found() == python


def test_a_shim_that_exits_127_does_not_fool_it(machine: Machine) -> None:
    shims = machine.root / "shims"
    for name in ("python3", "python3.12", "python3.13"):
        script(shims / name, 'echo "pyenv: $0: command not found" >&2\nexit 127')
    python = fake_python(machine.bin / "python3.13")
    assert machine.found(PATH=f"{shims}:{machine.bin}") == python  # the shim of the same name stands in front
    python.unlink()
    python = fake_python(machine.home / ".pyenv" / "versions" / "3.13.1" / "bin" / "python3")
    assert machine.found(PATH=f"{shims}:{machine.bin}") == python


def test_takes_what_a_shim_stands_for(machine: Machine) -> None:
    real = fake_python(machine.root / "real" / "python3")
    fake_python(machine.bin / "python3", base=real)
    assert machine.found() == real


def test_a_folder_or_a_plain_file_is_no_python(machine: Machine) -> None:
    (machine.bin / "python3").mkdir()
    (machine.bin / "python3.14").write_text("3.14.0\n")
    python = fake_python(machine.bin / "python3.13")
    assert machine.found() == python


@pytest.mark.parametrize(
    "place",
    [
        "my home/.pyenv/versions/3.13.1/bin/python3",
        "my home/.local/share/uv/python/cpython-3.13.1-linux-x86_64-gnu/bin/python3",
        "my home/miniconda3/bin/python3",
        "my home/anaconda3/envs/an env/bin/python3",
        "my home/miniforge3/envs/geo/bin/python3",
        "my home/mambaforge/bin/python3",
        "opt/homebrew/bin/python3.13",
        "usr/local/bin/python3.13",
        "home/linuxbrew/.linuxbrew/bin/python3.13",
        "opt/conda/bin/python3",
        "Library/Frameworks/Python.framework/Versions/3.13/bin/python3.13",
    ],
)
def test_looks_where_pythons_are_kept(machine: Machine, place: str) -> None:
    fake_python(machine.bin / "python3", "3.11.9")
    python = fake_python(machine.root / place)
    assert machine.found() == python


@pytest.mark.parametrize(
    ("variable", "value", "below"),
    [
        ("PYENV_ROOT", "py env", "versions/3.13.1/bin/python3"),
        ("CONDA_PREFIX", "conda env", "bin/python3"),
        ("UV_PYTHON_INSTALL_DIR", "uv pythons", "cpython-3.13/bin/python3"),
        ("XDG_DATA_HOME", "data", "uv/python/cpython-3.13/bin/python3"),
    ],
)
def test_follows_the_variables_of_the_managers(machine: Machine, variable: str, value: str, below: str) -> None:
    python = fake_python(machine.root / value / below)
    assert machine.found(**{variable: machine.root / value}) == python


def test_asks_uv_where_its_pythons_are(machine: Machine) -> None:
    kept = machine.root / "kept by uv"
    script(machine.bin / "uv", f"[ \"$*\" = 'python dir' ] && echo '{kept}'")
    python = fake_python(kept / "cpython-3.12.8" / "bin" / "python3", "3.12.8")
    assert machine.found() == python


def test_works_without_a_home(machine: Machine) -> None:
    python = fake_python(machine.bin / "python3")
    environment = machine.environment()
    del environment["HOME"]
    command = [SH, ".ci/bootstrap.sh", "--find-python"]
    answer = subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert answer.stdout == f"{python}\n"


def test_a_real_python_answers(machine: Machine) -> None:
    found = machine.found(GEOMASK_PYTHON=sys.executable)  # of a .venv: its base is what a .venv is made from
    command = [found, "-c", "import sys; print(sys.prefix == sys.base_prefix, *sys.version_info[:3])"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert answer == ["True", *map(str, sys.version_info[:3])]


# ---- what it says ----


def test_nothing_found_is_one_line_that_says_what_to_install(machine: Machine) -> None:
    complaint = machine.complaint()
    for words in (*VERSIONS, "apt install python3", "brew install python", "GEOMASK_PYTHON"):
        assert words in complaint


def test_a_python_without_venv_is_passed_over_and_named(machine: Machine) -> None:
    bare = fake_python(machine.bin / "python3.12", "3.12.3", lacks="ensurepip")
    complaint = machine.complaint()
    assert f"{bare} (Python 3.12.3) lacks ensurepip" in complaint
    assert "python3.12-venv" in complaint
    whole = fake_python(machine.home / ".pyenv" / "versions" / "3.13.1" / "bin" / "python3")
    assert machine.found() == whole


def test_a_python_built_without_a_library_is_passed_over(machine: Machine) -> None:
    fake_python(machine.bin / "python3", lacks="lzma ctypes")
    complaint = machine.complaint()
    assert "lacks lzma ctypes" in complaint
    assert "on Debian" not in complaint


def test_the_explicit_python_wins(machine: Machine) -> None:
    fake_python(machine.bin / "python3")
    mine = fake_python(machine.root / "my own" / "python", "3.14.0")
    assert machine.found(GEOMASK_PYTHON=mine) == mine
    named = fake_python(machine.bin / "mine3", "3.12.0")
    assert machine.found(GEOMASK_PYTHON="mine3") == named


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("exit 127", "does not run"),
        ("printf '%s\\n' 3.11.9 /x/python ''", "is Python 3.11.9; geomask needs 3.12, 3.13 or 3.14"),
        ("printf '%s\\n' 3.13.1 /x/python ensurepip", "python3.13-venv"),
    ],
)
def test_a_wrong_explicit_python_is_an_error(machine: Machine, body: str, words: str) -> None:
    fake_python(machine.bin / "python3")  # would do, but is not what was asked for
    mine = script(machine.root / "my own" / "python", body)
    complaint = machine.complaint(GEOMASK_PYTHON=mine)
    assert f"GEOMASK_PYTHON={mine}" in complaint
    assert words in complaint


@pytest.mark.parametrize("module", ["ensurepip", "ssl", "lzma"])
def test_a_real_python_tells_what_it_lacks(machine: Machine, module: str) -> None:
    hide = f"import sys; sys.modules['{module}'] = None"
    mine = script(machine.root / "python", f'exec "{sys.executable}" "$1" "$2" "$3" "{hide}\n$4"')
    assert f"lacks {module}" in machine.complaint(GEOMASK_PYTHON=mine)


@pytest.mark.parametrize("name", ["python9", "/no/such/python3"])
def test_a_missing_explicit_python_is_an_error(machine: Machine, name: str) -> None:
    fake_python(machine.bin / "python3")
    assert f"GEOMASK_PYTHON={name}" in machine.complaint(GEOMASK_PYTHON=name)


def test_is_posix_sh() -> None:
    for name in ("dash", "bash", "sh"):
        if shell := shutil.which(name):
            subprocess.run([shell, "-n", str(CHECKOUT / ".ci" / "bootstrap.sh")], check=True)


# ---- setting up ----

# Answers the question, makes a .venv whose python and pip are fakes too, and "installs" a uv that fails on demand.
# Each act is a line in the log.
BASE_PYTHON = """
fake=$0 log='{log}'
case "$*" in
    *sys.version_info*) printf '%s\\n' {version} "$0" '' ;;
    "-m venv .venv")
        echo venv >>"$log"
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python
        echo "#!$(pwd -P)/.venv/bin/python" >.venv/bin/pip ;;
    "-m pip --version") ;;
    "-m pip install "*uv)
        echo uv >>"$log"
        printf '%s\\n' '#!/bin/sh' '[ "$1" = --version ] && exit' "echo \\"\\$@\\" >>'$log'" \\
            'echo "index: $UV_DEFAULT_INDEX" >>'"'$log'" 'exit ${{FAIL:-0}}' >.venv/bin/uv
        chmod +x .venv/bin/uv ;;
    "-m pip config get global.index-url") [ -n "${{PIP_CONF:-}}" ] && echo "$PIP_CONF" ;;
    *) echo "unforeseen: $*" >>"$log"; exit 9 ;;
esac
"""
INSTALL = "pip install --python .venv/bin/python -c constraints.txt -e .[demo,test]"


class Checkout:
    """A copy of the files that the bootstrap reads, below a folder with a space, on a machine of fakes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.folder = machine.root / "a b" / "geomask"
        self.log = machine.root / "log"
        self.copy_to(self.folder)
        self.python()

    def python(self, version: str = "3.13.1", name: str = "python3") -> Path:
        return script(self.machine.bin / name, BASE_PYTHON.format(log=self.log, version=version))

    def copy_to(self, folder: Path) -> None:
        (folder / ".ci").mkdir(parents=True)
        for name in (".ci/bootstrap.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(CHECKOUT / name, folder / name)

    def set_up(self, **extra: object) -> subprocess.CompletedProcess[str]:
        environment = self.machine.environment(PATH=f"{self.machine.bin}:/usr/bin:/bin", **extra)
        return subprocess.run(
            [SH, ".ci/bootstrap.sh"], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def acts(self, **extra: object) -> list[str]:
        """What one more set-up did."""
        self.log.write_text("")
        answer = self.set_up(**extra)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout == ""
        return [line for line in self.log.read_text().splitlines() if not line.startswith("index:")]


@pytest.fixture
def checkout(machine: Machine) -> Checkout:
    return Checkout(machine)


def test_sets_up_once(checkout: Checkout) -> None:
    assert checkout.acts() == ["venv", "uv", INSTALL]
    assert checkout.acts() == []
    assert checkout.set_up().stderr == ""


def test_speaks_of_the_download_before_it_on_linux_only(checkout: Checkout) -> None:
    for system, spoken in (("Darwin", False), ("Linux", True)):
        script(checkout.machine.bin / "uname", f"echo {system}")
        shutil.rmtree(checkout.folder / ".venv", ignore_errors=True)
        assert ("several GB of GPU libraries" in checkout.set_up().stderr) == spoken


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_installs_again_into_the_same_venv_when_a_file_changes(checkout: Checkout, name: str) -> None:
    checkout.acts()
    with (checkout.folder / name).open("a") as file:
        file.write("# changed\n")
    assert checkout.acts() == [INSTALL]
    assert checkout.acts() == []


def test_completes_an_interrupted_install(checkout: Checkout) -> None:
    assert checkout.set_up(FAIL=1).returncode == 1
    assert checkout.acts() == [INSTALL]
    assert checkout.acts() == []


def test_a_change_taken_back_after_a_failed_install_is_installed_again(checkout: Checkout) -> None:
    checkout.acts()
    file = checkout.folder / "constraints.txt"
    before = file.read_text()
    file.write_text(f"{before}# changed\n")
    assert checkout.set_up(FAIL=1).returncode == 1
    file.write_text(before)
    assert checkout.acts() == [INSTALL]


@pytest.mark.parametrize("missing", ["python", "pip"])
def test_makes_a_half_made_venv_anew(checkout: Checkout, missing: str) -> None:
    checkout.acts()
    (checkout.folder / ".venv" / "geomask-stamp").unlink()
    (checkout.folder / ".venv" / "bin" / missing).unlink()
    assert checkout.acts() == ["venv", "uv", INSTALL]


def test_makes_a_venv_anew_when_its_base_is_gone(checkout: Checkout) -> None:
    checkout.acts()
    python = checkout.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(checkout.machine.root / "gone")
    assert checkout.acts() == ["venv", "uv", INSTALL]


def test_makes_a_venv_anew_when_the_checkout_moved(checkout: Checkout) -> None:
    checkout.acts()
    new = checkout.machine.root / "elsewhere"
    checkout.folder.rename(new)
    checkout.folder = new
    assert checkout.acts() == ["venv", "uv", INSTALL]
    assert checkout.acts() == []


def test_keeps_a_venv_of_another_hand(checkout: Checkout) -> None:
    checkout.acts()
    (checkout.folder / ".venv" / "geomask-stamp").unlink()
    assert checkout.acts() == [INSTALL]


def test_an_explicit_python_of_another_version_makes_the_venv_anew(checkout: Checkout) -> None:
    checkout.acts()
    mine = checkout.python("3.12.4", "mine")
    assert checkout.acts(GEOMASK_PYTHON=mine) == ["venv", "uv", INSTALL]
    assert checkout.acts(GEOMASK_PYTHON=mine) == []
    assert checkout.acts() == []


def test_a_wrong_explicit_python_is_an_error_even_when_set_up(checkout: Checkout) -> None:
    checkout.acts()
    answer = checkout.set_up(GEOMASK_PYTHON=checkout.python("3.11.2", "old"))
    assert answer.returncode == 1
    assert "is Python 3.11.2" in answer.stderr


@pytest.mark.parametrize(
    ("settings", "index"),
    [
        ({}, ""),
        ({"PIP_CONF": "file:///mirror"}, "file:///mirror"),
        ({"PIP_INDEX_URL": "file:///other", "PIP_CONF": "file:///mirror"}, "file:///other"),
        ({"PIP_CONF": "file:///mirror", "UV_DEFAULT_INDEX": "file:///uvs"}, "file:///uvs"),
        ({"PIP_CONF": "file:///mirror", "UV_INDEX_URL": "file:///uvs"}, ""),
    ],
)
def test_uv_follows_the_registry_that_only_pip_was_told(
    checkout: Checkout, settings: dict[str, str], index: str
) -> None:
    if Path("/etc/uv/uv.toml").exists():
        pytest.skip("this machine tells uv its registry")
    checkout.acts(**settings)
    assert f"index: {index}\n" in checkout.log.read_text()


# ---- make ----


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        (["demo", "DEMO_ARGS=--fast"], ["sh .ci/bootstrap.sh", ".venv/bin/geomask demo --fast"]),
        (["test", "TEST_ARGS=-x"], ["sh .ci/bootstrap.sh", ".venv/bin/python -m pytest -x"]),
    ],
)
def test_make_sets_up_and_runs(arguments: list[str], commands: list[str]) -> None:
    # Under `make test` the outer make's flags would reach this one.
    environment = {name: value for name, value in os.environ.items() if not re.match("MAKE|MFLAGS|.*_ARGS$", name)}
    command = ["make", "-n", *arguments]
    answer = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == commands


# ---- constraints.txt ----


def pins() -> dict[str, str]:
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in found}


def asked() -> list[Requirement]:
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in [*project["dependencies"], *extras["demo"], *extras["test"]]]


def test_constraints_hold_no_address() -> None:
    text = (CHECKOUT / "constraints.txt").read_text()
    assert "://" not in text
    assert all("==" in line for line in text.splitlines())


@pytest.mark.parametrize("requirement", asked(), ids=lambda requirement: requirement.name)
def test_constraints_pin_what_pyproject_asks_for(requirement: Requirement) -> None:
    pin = pins().get(canonicalize_name(requirement.name))
    assert pin is not None, "run make constraints"
    assert requirement.specifier.contains(pin), f"{pin} is pinned: run make constraints"
