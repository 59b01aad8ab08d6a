"""Making a chip store: part by part, each of them whole or not there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pystac.utils import is_absolute_href

from ..atomic import atomic_path, write_text
from ..errors import RunError
from ..signing import unsigned
from ..stac.search import save_items
from .cells import as_windows
from .masks import read_masks
from .store import VERSION, StoreRecord
from .zarr_form import group_document

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from pystac import Item

    from ..read.receipt import Receipt
    from .dataset import StacDataset
    from .store_plan import StorePlan

#: What a store's folder holds.
NAMES = (
    *("zarr.json", "image", "valid", "mask", "window"),
    *("selection.json", "items.json", "headers.parquet", "receipt.json"),
)


@dataclass(frozen=True, slots=True)
class Spent:
    """What it took to read a store's chips, over all runs that it took; ``receipt.json``."""

    parts: int = 0
    """Parts that were read and written."""
    planned_nbytes: int = 0
    nbytes: int = 0
    requests: int = 0
    seconds: float = 0.0

    def plus(self, receipt: Receipt) -> Spent:
        """With one part more."""
        return Spent(
            self.parts + 1,
            self.planned_nbytes + receipt.planned_nbytes,
            self.nbytes + receipt.nbytes,
            self.requests + receipt.requests,
            self.seconds + receipt.seconds,
        )


def check_store(folder: str | os.PathLike[str]) -> Path:
    """The folder, if a store can be written to it: it is not there, empty, or holds one.

    Raises RunError where it holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder for the chips")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    if not all(name in NAMES or name.startswith(".") for name in names):
        raise RunError(f"{folder} holds something else than chips; name another folder")
    if "zarr.json" not in names and (folder / "image" / "c").exists():
        raise RunError(f"{folder} holds parts of chips and no zarr.json that says of what; name another folder")
    return folder


def write_store(
    folder: str | os.PathLike[str],
    dataset: StacDataset,
    plan: StorePlan,
    on_done: Callable[[int], object] | None = None,
) -> Spent:
    """Read the parts that the folder lacks, and write them; `on_done` gets the number of chips that are there.

    An interrupted store goes on where it ended: the part under way is lost. Raises RunError where the folder holds
    something else, or chips that were made from something else, and what reading raises.
    """
    folder = _begin(check_store(folder), dataset, plan)
    record, spent = plan.record, _load_spent(folder)
    missing = record.missing(folder)
    there = record.chips - sum(len(plan.part(part)) for part in missing)
    for part in missing:
        if on_done:
            on_done(there)
        windows = plan.part(part)
        cube, receipt = dataset.read(as_windows(windows))
        receipt = receipt.after(dataset.headers) if part == missing[0] else receipt
        values = {"image": cube.image, "valid": cube.valid}
        if record.labelled:
            values["mask"] = read_masks(dataset.labels_of, windows)
        _write_part(folder, record, part, values)
        spent = spent.plus(receipt)
        write_text(folder / "receipt.json", json.dumps(asdict(spent)) + "\n")
        there += len(windows)
    return spent


def _begin(folder: Path, dataset: StacDataset, plan: StorePlan) -> Path:
    """Write everything but the parts; ``zarr.json`` comes last. A store that has lost some of it gets that back."""
    record = plan.record
    if (folder / "zarr.json").exists():
        held = StoreRecord.load(folder)
        if held != record:
            raise RunError(
                f"{folder} holds chips that were made from something else ({held.digest[:12]}, not "
                f"{record.digest[:12]}); name another folder"
            )
        if _has_rest(folder, record):
            return folder
    else:
        (folder / "receipt.json").unlink(missing_ok=True)
    save_items([_bare(item) for item in plan.items], folder / "items.json")
    dataset.selection.save(folder / "selection.json")
    dataset.headers.save(folder / "headers.parquet")
    for name, array in record.arrays.items():
        write_text(folder / name / "zarr.json", json.dumps(array.document(), indent=1) + "\n")
    window = record.arrays["window"]
    _write(window.path(folder, 0), window.to_bytes(plan.windows))
    said = {"geomask": "chips", "version": VERSION, "created_with": f"geomask {version('geomask')}", **asdict(record)}
    write_text(folder / "zarr.json", json.dumps(group_document(said, record.arrays), indent=1) + "\n")
    return folder


def _has_rest(folder: Path, record: StoreRecord) -> bool:
    """Whether all is there but perhaps parts."""
    names = ["selection.json", "items.json", "headers.parquet", *(f"{name}/zarr.json" for name in record.arrays)]
    return record.arrays["window"].is_there(folder, 0) and all((folder / name).exists() for name in names)


def _write_part(folder: Path, record: StoreRecord, part: int, values: dict[str, np.ndarray]) -> None:
    for name, array in record.arrays.items():
        if name in values:
            _write(array.path(folder, part), array.to_bytes(values[name]))


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as draft:
        draft.write_bytes(data)


def _load_spent(folder: Path) -> Spent:
    """What earlier runs took; nothing where they did not say so."""
    try:
        return Spent(**json.loads((folder / "receipt.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Spent()


def _bare(item: Item) -> dict[str, Any]:
    """An item without links, its addresses absolute and without what signs them."""
    document = item.to_dict(include_self_link=False, transform_hrefs=False)
    for name, asset in item.assets.items():
        href = asset.href if is_absolute_href(asset.href) else asset.get_absolute_href() or asset.href
        document["assets"][name]["href"] = href
    bare: dict[str, Any] = _unsigned({**document, "links": []})
    return bare


def _unsigned(value: Any, is_href: bool = False) -> Any:
    """JSON whose hrefs do not give access."""
    match value:
        case str() if is_href:
            return unsigned(value)
        case dict():
            return {
                key: unsigned(it) if key == "href" and isinstance(it, str) else _unsigned(it)
                for key, it in value.items()
            }
        case list():
            return [_unsigned(part) for part in value]
    return value
