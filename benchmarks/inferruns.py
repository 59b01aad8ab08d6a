"""The networks of the inference benchmark: trained once, by geomask's own command, on the scene to learn from."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infermap import write_items
from inferscene import CUTS, DATES, LABELS, Scene, write_profile

from geomask.train.record import load_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: By name, what `geomask train` is told of each. The budget is the least of 10 and 13 % that is within a point of all
#: channels on what the first three splits of this scene hold back (docs/benchmarks/infer.md).
RUNS = {
    "dense": ("--method", "dense"),
    "learned": ("--method", "learned", "--budget", "13%", "--levels", "0"),
    # Of benchmarks/bottleneck.py: a fifth of the learned one's bytes at the most.
    "features": ("--method", "learned", "--transfer", "bottleneck", "--budget", "2.5%"),
}
#: What all are told. Cells: three to validate, three to test, nine to learn from.
SHARED = ("--cuts", ",".join(f"{cut:g}" for cut in CUTS), "--slots", f"dates:{','.join(DATES)}", "--folds", "5")


def train(
    scene: Scene,
    files: Path,
    home: Path,
    steps: int | None = None,
    seed: int = 0,
    names: Sequence[str] = ("dense", "learned"),
) -> dict[str, Path]:
    """The folder of each of `names` in `RUNS`, below `home`; those not there are trained, on `scene` in `files`.

    `steps` is how long; None: as long as geomask takes by itself.
    """
    options = (*SHARED, *(() if steps is None else ("--steps", f"{steps}")))
    options += ("--seed", f"{seed}") if seed else ()
    folders = {}
    for name in names:
        method = RUNS[name]
        digest = hashlib.sha256(json.dumps([scene.folder_name, options, method]).encode()).hexdigest()[:8]
        folders[name] = home / f"run-{name}-{digest}"
        if not (folders[name] / "run.json").is_file():  # it is written last
            _train(scene, files, home, folders[name], (*options, *method))
    return folders


def _train(scene: Scene, files: Path, home: Path, folder: Path, options: tuple[str, ...]) -> None:
    items, profile = home / "learning.json", home / "profile.yaml"
    write_items(items, scene, lambda name: str(files / name))
    write_profile(profile)
    given = ["--labels", files / LABELS, "--profile", profile, *options, "--out", folder]
    command = [Path(sys.executable).with_name("geomask"), "train", items, *given]
    print(f"training {folder.name}", file=sys.stderr, flush=True)
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def told(runs: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """Of each run its validation score, its share of the bytes of all channels, and how many channels it reads."""
    found = {}
    for name, folder in runs.items():
        record = load_record(folder)
        channels = len(json.loads((folder / "selection.json").read_text())["channels"])
        share = record.planned_nbytes / record.dense_nbytes
        found[name] = {"channels": float(channels), "share": share, "validation": record.scores["validation"]}
    return found
