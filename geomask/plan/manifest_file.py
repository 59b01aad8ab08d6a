"""A manifest's file, in one of two forms: Parquet or JSON Lines, by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import atomic_path
from ..errors import ManifestError
from .jsonl import manifest_lines, parse_lines
from .parquet import read_parquet, write_parquet

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from .manifest import Manifest


def _is_parquet(path: str | os.PathLike[str]) -> bool:
    """Whether a file of that name is Parquet."""
    return Path(path).suffix.lower() == ".parquet"


def save_manifest(manifest: Manifest, path: str | os.PathLike[str]) -> None:
    """Write a manifest, whole or not at all. Raises ManifestError for one that could not be read back."""
    with atomic_path(path) as draft:
        if _is_parquet(path):
            write_parquet(manifest, draft)
        else:
            with draft.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in manifest_lines(manifest))


def load_manifest(
    path: str | os.PathLike[str],
    item: str | None = None,
    through: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> dict[str, Any]:
    """The fields of a manifest. Raises ManifestError, with the file's name, as `Manifest.load` does.

    `through` gets the lines of JSON Lines first, and returns those to read.
    """
    try:
        fields = _read(Path(path), item, through)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error.strerror or error}") from error
    if item is None:
        return fields
    if not len(fields["requests"]):
        raise ManifestError(f"{path}: no request is of item {item!r}; a manifest names the items that it reads")
    return {**fields, "dense_nbytes": None}  # that of all items


def _read(path: Path, item: str | None, through: Callable[[Iterable[str]], Iterable[str]]) -> dict[str, Any]:
    if _is_parquet(path):
        return read_parquet(path, item)
    with path.open(encoding="utf-8") as file:
        return parse_lines(through(file), item)
