#!/bin/sh
# Makes .venv: a Python 3.12 to 3.14 with geomask, its demo and its tests. `make demo` and `make test` start here.
#
#   sh .ci/bootstrap.sh                 set up; when nothing changed since the last time, this takes a moment
#   sh .ci/bootstrap.sh --find-python   only print the Python that .venv would be made from
#
# GEOMASK_PYTHON names the Python to use. POSIX sh; notes go to stderr. Finding a Python takes no outside command, so
# that the tests can run it with a PATH of their own.
set -eu

# What a caller may have set that sends Python or pip elsewhere than to .venv.
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX CDPATH
export PIP_USER=0

case ${GEOMASK_PYTHON-} in
    /*) ;;
    */*) GEOMASK_PYTHON=$PWD/$GEOMASK_PYTHON ;; # relative to the caller's folder, which the next lines leave
esac
case $0 in
    */*) cd -- "${0%/*}/.." ;;
    *) cd .. ;;
esac
here=$(pwd -P)

note() { printf 'geomask: %s\n' "$*" >&2; }
die() {
    note "$@"
    exit 1
}

# ---- find a Python -------------------------------------------------------------------------------------------------

# Three lines: version, executable, modules that it lacks.
# * A "t" after the version (free-threaded) or another implementation's name: few of our wheels are built for those.
# * The base executable: a shim may mean another Python tomorrow, and the Python of an old .venv goes with that .venv.
# * Debian parts ensurepip from python3; a Python built from source lacks what its machine had no headers for:
#   pip needs ssl and zlib, torchvision imports bz2 and lzma, numba ctypes.
# shellcheck disable=SC2016  # this is Python, nothing in it is for the shell
question='
import sys
name = sys.implementation.name
name = "" if name == "cpython" else name + " "
print(name + "%d.%d.%d" % sys.version_info[:3] + ("t" if "t" in getattr(sys, "abiflags", "") else ""))
print(getattr(sys, "_base_executable", None) or sys.executable)
lacks = []
for module in "ensurepip venv ssl zlib bz2 lzma ctypes".split():
    try:
        __import__(module)
    except ImportError:
        lacks.append(module)
print(" ".join(lacks))
'

# ask PYTHON: true when it runs; leaves $version, $base and $lacks.
# It is executed, never judged by its name: a pyenv shim exists for each version that any environment has, and exits
# 127 when the chosen environment lacks it.
ask() {
    version='' base='' lacks=''
    answer=$("$1" -I -S -c "$question" 2>/dev/null </dev/null) || return 1
    {
        IFS= read -r version
        IFS= read -r base
        IFS= read -r lacks || :
    } <<EOF
$answer
EOF
    [ -n "$base" ]
}

right_version() {
    case $version in
        *[!0-9.]*) return 1 ;;
        3.12.* | 3.13.* | 3.14.*) return 0 ;;
        *) return 1 ;;
    esac
}

lacking() { # lacking PYTHON: what to say of one that has the right version and cannot be used
    printf '%s (Python %s) lacks %s' "$1" "$version" "$lacks"
    case " $lacks " in
        *" ensurepip "*) printf ', on Debian and Ubuntu the package python%s-venv' "${version%.*}" ;;
    esac
}

# try PYTHON: true when it can be used; leaves $python. The first of the right version that cannot is kept in $passed.
python='' passed=''
try() {
    [ -f "$1" ] && [ -x "$1" ] && ask "$1" && right_version || return 1
    if [ -n "$lacks" ]; then
        : "${passed:="; passed over: $(lacking "$1")"}"
        return 1
    fi
    python=$base
}

try_path() { # try_path NAME: each NAME on PATH, because a shim in front may hide one that works
    rest=${PATH-}:
    while [ -n "$rest" ]; do
        dir=${rest%%:*}
        rest=${rest#*:}
        if try "${dir:-.}/$1"; then return 0; fi
    done
    return 1
}

use_explicit() {
    case $GEOMASK_PYTHON in
        */*) candidate=$GEOMASK_PYTHON ;;
        *) candidate=$(command -v "$GEOMASK_PYTHON") || die "GEOMASK_PYTHON=$GEOMASK_PYTHON is not on PATH" ;;
    esac
    ask "$candidate" || die "GEOMASK_PYTHON=$GEOMASK_PYTHON does not run as a Python"
    right_version || die "GEOMASK_PYTHON=$GEOMASK_PYTHON is Python $version; geomask needs 3.12, 3.13 or 3.14"
    [ -z "$lacks" ] || die "GEOMASK_PYTHON=$(lacking "$GEOMASK_PYTHON")"
    python=$base
}

find_python() {
    if [ -n "${GEOMASK_PYTHON-}" ]; then
        use_explicit
        return
    fi
    names='python3 python3.14 python3.13 python3.12'
    for name in $names; do
        if try_path "$name"; then return 0; fi
    done
    home=${HOME:-/nonexistent}
    uv_pythons=$(uv python dir 2>/dev/null) || uv_pythons=''
    : "${uv_pythons:=${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$home/.local/share}/uv/python}}"
    top=${GEOMASK_TEST_ROOT-} # the tests put a made-up tree in front of the fixed places
    for dir in \
        "${PYENV_ROOT:-$home/.pyenv}"/versions/*/bin \
        "$uv_pythons"/*/bin \
        "$top"/opt/homebrew/bin "$top"/usr/local/bin "$top"/home/linuxbrew/.linuxbrew/bin \
        "$top"/Library/Frameworks/Python.framework/Versions/3.*/bin \
        ${CONDA_PREFIX:+"$CONDA_PREFIX/bin"} \
        "$home"/miniconda3/bin "$home"/miniconda3/envs/*/bin "$home"/anaconda3/bin "$home"/anaconda3/envs/*/bin \
        "$home"/miniforge3/bin "$home"/miniforge3/envs/*/bin "$home"/mambaforge/bin "$home"/mambaforge/envs/*/bin \
        "$top"/opt/conda/bin "$top"/opt/conda/envs/*/bin; do
        for name in $names; do
            if try "$dir/$name"; then return 0; fi
        done
    done
    die "no usable Python 3.12, 3.13 or 3.14 found: install one (apt install python3.12 python3.12-venv," \
        "brew install python@3.13, pyenv install 3.13 or uv python install 3.13)" \
        "or set GEOMASK_PYTHON to its path$passed"
}

# ---- the environment -----------------------------------------------------------------------------------------------

venv_runs() { # .venv has a Python of a right version, and of the one asked for if one was
    ask .venv/bin/python && right_version && { [ -z "$wanted" ] || [ "$wanted" = "${version%.*}" ]; }
}

# .venv was finished, and made here: pip's first lines carry the path, and would lead a moved or copied checkout back
# to the old one. The quotes are how pip writes a path with spaces.
venv_is_whole() {
    grep -qF -e "#!$here/.venv/" -e "\"$here/.venv/" -e "'$here/.venv/" -e " $here/.venv/" .venv/bin/pip 2>/dev/null &&
        .venv/bin/python -m pip --version >/dev/null 2>&1
}

# uv reads none of pip's settings. Where the machine names its registry to pip and not to uv, uv is told the same.
share_registry() {
    [ -z "${UV_DEFAULT_INDEX-}${UV_INDEX_URL-}${UV_INDEX-}${UV_CONFIG_FILE-}" ] || return 0
    for file in "${XDG_CONFIG_HOME:-${HOME-}/.config}/uv/uv.toml" /etc/uv/uv.toml; do
        [ ! -f "$file" ] || return 0
    done
    registry=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || :)}
    [ -z "$registry" ] || export UV_DEFAULT_INDEX="$registry"
}

make_venv() {
    find_python
    [ ! -e .venv ] || note "making .venv anew: it was unfinished, moved, broken or of another Python"
    note "making .venv with $python"
    rm -rf .venv
    "$python" -m venv .venv >&2 || die "$python could not make .venv"
}

set_up() {
    wanted=''
    if [ -n "${GEOMASK_PYTHON-}" ]; then # a wrong one is an error, even when .venv needs none
        use_explicit
        wanted=${version%.*}
    fi
    stamp="$(cat pyproject.toml constraints.txt | cksum) $here"
    if venv_runs; then
        if [ "$(cat .venv/geomask-stamp 2>/dev/null)" = "$stamp" ]; then return 0; fi
        venv_is_whole || make_venv
    else
        make_venv
    fi
    rm -f .venv/geomask-stamp
    .venv/bin/uv --version >/dev/null 2>&1 ||
        .venv/bin/python -m pip install --quiet --disable-pip-version-check uv >&2
    if [ "$(uname -s)" = Linux ]; then
        note "installing; on Linux the default torch wheel brings several GB of GPU libraries, downloaded once"
    else
        note "installing"
    fi
    share_registry
    # --python: an activated environment would win over .venv.
    .venv/bin/uv pip install --python .venv/bin/python -c constraints.txt -e ".[demo,test]" >&2
    printf '%s\n' "$stamp" >.venv/geomask-stamp # last: an interrupted set-up is completed by the next run
}

case ${1-} in
    --find-python)
        find_python
        printf '%s\n' "$python"
        ;;
    '') set_up ;;
    *) die "usage: sh .ci/bootstrap.sh [--find-python]" ;;
esac
