import pickle
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geomask.chips.labels import IGNORE, load_labels, open_labels
from geomask.chips.masks import read_masks
from geomask.chips.vector import VectorLabels
from geomask.errors import GridError, ItemError
from geomask.grid import Grid, Window

GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 6, 8)
#: Left half, and a square on top of its lower right corner that holds the centres of 3 x 3 pixels.
SHAPES = [shapely.box(499_000, 4_999_000, 500_040, 5_001_000), shapely.box(500_024, 4_999_944, 500_046, 4_999_966)]


def write(path: Path, crs: str | None = "EPSG:32633", shapes: list[Any] = SHAPES, **columns: list[Any]) -> Path:
    frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:  # an index of FlatGeobuf would put the shapes into another order
        frame.to_file(path, **({"SPATIAL_INDEX": "NO"} if path.suffix == ".fgb" else {}))
    return path


def drawn(left: int, square: int, outside: int = IGNORE) -> list[list[int]]:
    classes = np.full((6, 8), outside)
    classes[:, :4] = left
    classes[3:6, 2:5] = square
    return classes.tolist()


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp", "fgb", "parquet"])
def test_a_column_holds_the_classes_and_the_last_shape_is_on_top(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"fields.{suffix}", kind=[2, 0])
    assert load_labels(path, GRID, column="kind").tolist() == drawn(2, 0)
    assert load_labels(path, GRID).dtype == np.int64


def test_names_are_classes_in_alphabetical_order(tmp_path: Path) -> None:
    path = write(tmp_path / "fields.gpkg", crop=["wheat", "maize"])
    labels = open_labels(path, GRID, column="crop")
    assert labels.names == ("maize", "wheat")
    assert labels.read(GRID.window).tolist() == drawn(1, 0)


def test_values_are_cut_and_shapes_without_one_have_no_label(tmp_path: Path) -> None:
    path = write(tmp_path / "fields.gpkg", "EPSG:32633", [*SHAPES, SHAPES[0]], cover=[12.5, 80, None])
    labels = open_labels(path, GRID, (30, 70), "cover")
    assert labels.names == ("under 30", "30 to 70", "70 and over")
    assert labels.read(GRID.window).tolist() == drawn(0, 2)


def test_without_a_column_there_is_inside_and_outside(tmp_path: Path) -> None:
    labels = open_labels(write(tmp_path / "fields.geojson"), GRID)
    assert labels.names == ("outside", "inside")
    assert labels.read(GRID.window).tolist() == drawn(1, 1, outside=0)


def test_shapes_come_to_the_grids_crs(tmp_path: Path) -> None:
    path = write(tmp_path / "fields.gpkg", kind=[2, 0])
    geopandas.read_file(path).to_crs("EPSG:4326").to_file(tmp_path / "degrees.geojson")
    assert load_labels(tmp_path / "degrees.geojson", GRID, column="kind").tolist() == drawn(2, 0)


@given(st.integers(-4, 7), st.integers(-4, 9), st.integers(1, 9), st.integers(1, 9))
def test_a_window_is_a_part_of_the_whole(row: int, col: int, height: int, width: int) -> None:
    frame = geopandas.GeoDataFrame({"kind": [2, 0]}, geometry=SHAPES, crs=GRID.crs)
    shapes = np.asarray(frame.geometry.array)
    labels = VectorLabels(GRID, shapes, np.array([2, 0]), None, IGNORE, shapely.STRtree(shapes))
    larger = labels.read(Window(-20, -20, 60, 60))
    part = labels.read(Window(row, col, height, width))
    assert part.tolist() == larger[row + 20 : row + 20 + height, col + 20 : col + 20 + width].tolist()


def test_labels_pickle(tmp_path: Path) -> None:
    labels = open_labels(write(tmp_path / "fields.gpkg", kind=["b", "a"]), GRID, column="kind")
    again = pickle.loads(pickle.dumps(labels))
    assert again.read(GRID.window).tolist() == labels.read(GRID.window).tolist()
    assert again.names == labels.names


def test_masks_of_neighbours_are_read_at_once_and_of_others_one_by_one(tmp_path: Path) -> None:
    labels = open_labels(write(tmp_path / "fields.gpkg", kind=[2, 0]), GRID, column="kind")
    asked: list[Window] = []

    def read(window: Window) -> np.ndarray:
        asked.append(window)
        return labels.read(window)

    near, far = np.array([[0, 0, 3, 4], [3, 4, 3, 4]]), np.array([[0, 0, 1, 1], [5, 7, 1, 1]])
    for windows, times in ((near, 1), (far, 2)):
        asked.clear()
        masks = read_masks(read, windows)
        assert len(asked) == times
        for mask, window in zip(masks, windows.tolist(), strict=True):
            assert mask.tolist() == labels.read(Window(*window)).tolist()


@pytest.mark.parametrize(
    ("shapes", "columns", "options", "error", "words"),
    [
        (SHAPES, {"kind": [1, 2]}, {"column": "crop"}, ItemError, "no column crop; choose one of kind"),
        (SHAPES, {"kind": [1, -2]}, {"column": "kind"}, ItemError, "class -2"),
        (SHAPES, {"kind": [1, 2.5]}, {"column": "kind"}, ItemError, "fractions"),
        (SHAPES, {"kind": ["a", "b"]}, {"column": "kind", "cuts": (3,)}, ItemError, "cuts divide numbers"),
        ([shapely.box(0, 0, 1, 1)], {"kind": [1]}, {"column": "kind"}, GridError, "no shape of labels"),
    ],
)
def test_what_makes_no_labels_is_an_error_that_names_the_file(
    tmp_path: Path, shapes: list[Any], columns: dict[str, Any], options: dict[str, Any], error: Any, words: str
) -> None:
    path = write(tmp_path / "fields.gpkg", shapes=shapes, **columns)
    with pytest.raises(error, match=words) as raised:
        open_labels(path, GRID, **options)
    assert "fields.gpkg" in str(raised.value)


def test_a_file_that_is_none_or_names_no_crs_or_has_two_layers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match=r"cannot read labels from .*nothing\.gpkg"):
        open_labels(tmp_path / "nothing.gpkg", GRID)
    with pytest.raises(ItemError, match="name no CRS"):
        open_labels(write(tmp_path / "bare.parquet", crs=None, kind=[1, 2]), GRID)
    frame = geopandas.GeoDataFrame(geometry=SHAPES, crs="EPSG:32633")
    for layer in ("one", "two"):
        frame.to_file(tmp_path / "both.gpkg", layer=layer)
    with pytest.raises(ItemError, match=r"both\.gpkg: .*layer"):
        open_labels(tmp_path / "both.gpkg", GRID)
