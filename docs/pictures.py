"""Draw the README's picture from a demo's folder: ``python docs/pictures.py geomask-demo``."""

import sys
from pathlib import Path

import numpy as np
import rasterio

from geomask.report.figures import maps, selection_matrix
from geomask.report.outcome import load_outcomes
from geomask.selection import Selection

folder, images = Path(sys.argv[1]), Path(__file__).parent / "images"
learned = [outcome for outcome in load_outcomes(folder) if outcome.contender == "learned"]
rasters: dict[str, np.ndarray] = {}
for name in ("truth", "dense", "learned"):
    with rasterio.open(folder / "maps" / f"{name}.tif") as dataset:
        rasters[name] = dataset.read(1)
images.mkdir(exist_ok=True)
selections = [Selection.load(outcome.folder / "selection.json") for outcome in learned]
selection_matrix(selections).savefig(images / "selection.png", dpi=110)
maps(rasters, learned[0].class_names).savefig(images / "maps.png", dpi=110)
