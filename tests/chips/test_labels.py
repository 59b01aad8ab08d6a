from pathlib import Path

import numpy as np
import pytest
import rasterio

from geomask.chips.labels import IGNORE, ArrayLabels, load_labels, name_classes, open_labels
from geomask.errors import GridError, ItemError
from geomask.grid import Grid, Window

GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, 4, 6)


def write(
    path: Path, values: list[list[float]], res: float = 20, crs: str | None = "EPSG:32633", shift: float = 0
) -> Path:
    array = np.array(values, "int16")
    transform = rasterio.Affine(res, 0, 500_000 + shift, 0, -res, 5_000_000)
    size = {"height": array.shape[0], "width": array.shape[1]}
    with rasterio.open(
        path, "w", "GTiff", **size, count=1, dtype="int16", nodata=99, crs=crs, transform=transform
    ) as file:
        file.write(array, 1)
    return path


def test_cuts_make_classes_and_coarse_pixels_are_repeated(tmp_path: Path) -> None:
    labels = load_labels(write(tmp_path / "l.tif", [[29, 30, 70], [99, 84, 85]]), GRID, (30, 70, 85))
    assert labels.dtype == np.int64
    assert labels.tolist() == [
        [0, 0, 1, 1, 2, 2],
        [0, 0, 1, 1, 2, 2],
        [IGNORE, IGNORE, 2, 2, 3, 3],
        [IGNORE, IGNORE, 2, 2, 3, 3],
    ]


def test_without_cuts_the_raster_holds_the_classes(tmp_path: Path) -> None:
    values = [[0, 1, 2, 3, 4, 5]] * 4
    assert load_labels(write(tmp_path / "l.tif", values, res=10), GRID).tolist() == values


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint32", "float32"])
def test_a_raster_of_any_type_holds_classes(tmp_path: Path, dtype: str) -> None:
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(20, 0, 500_000, 0, -20, 5_000_000)}
    with rasterio.open(
        tmp_path / "l.tif", "w", "GTiff", width=3, height=2, count=1, dtype=dtype, nodata=9, **place
    ) as file:
        file.write(np.array([[0, 100, 9], [1, 2, 3]], dtype), 1)
    assert load_labels(tmp_path / "l.tif", GRID)[::2, ::2].tolist() == [[0, 100, IGNORE], [1, 2, 3]]


def test_beyond_the_raster_there_is_no_label(tmp_path: Path) -> None:
    labels = load_labels(write(tmp_path / "l.tif", [[1, 2]], shift=20), GRID)
    assert labels[:, :2].tolist() == [[IGNORE] * 2] * 4
    assert labels[0].tolist() == [IGNORE, IGNORE, 1, 1, 2, 2]
    assert labels[2:].tolist() == [[IGNORE] * 6] * 2


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"crs": "EPSG:32734"}, GridError, "do not meet"),
        ({"shift": 9000}, GridError, "do not meet"),
        ({"crs": None}, ItemError, "name no CRS"),
    ],
)
def test_a_raster_that_does_not_fit_is_an_error_that_names_it(
    tmp_path: Path, kwargs: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as raised:
        load_labels(write(tmp_path / "l.tif", [[1, 2]], **kwargs), GRID)  # type: ignore[arg-type]
    assert "l.tif" in str(raised.value)


def test_off_the_grid_each_pixel_takes_the_one_under_its_centre(tmp_path: Path) -> None:
    labels = load_labels(write(tmp_path / "l.tif", [[1, 2, 3], [4, 5, 6]], shift=-8), GRID)
    assert labels.tolist() == [[1, 2, 2, 3, 3, IGNORE]] * 2 + [[4, 5, 5, 6, 6, IGNORE]] * 2


def test_labels_of_another_zone_are_the_same_ones(tmp_path: Path) -> None:
    from rasterio.warp import Resampling, calculate_default_transform, reproject

    rng = np.random.default_rng(0)
    frame = Grid("EPSG:32633", 700_000, 5_000_000, 10, 10, 60, 60)
    values = np.kron(rng.integers(0, 5, (6, 6)), np.ones((10, 10))).astype("int16")
    here = rasterio.Affine(*frame.transform)
    there, width, height = calculate_default_transform(frame.crs, "EPSG:32634", 60, 60, *frame.bounds, resolution=1)
    profile = {"height": height, "width": width, "count": 1, "dtype": "int16", "nodata": -1}
    with rasterio.open(tmp_path / "l.tif", "w", "GTiff", crs="EPSG:32634", transform=there, **profile) as file:
        fine = np.full((height, width), -1, "int16")
        options = {"src_transform": here, "src_crs": frame.crs, "dst_transform": there, "dst_crs": "EPSG:32634"}
        reproject(values, fine, resampling=Resampling.nearest, init_dest_nodata=False, **options)
        file.write(fine, 1)
    labels = load_labels(tmp_path / "l.tif", frame)
    assert (labels == values).mean() > 0.97  # patches of 10 pixels, drawn over at 1 m: their borders may differ


@pytest.mark.parametrize("window", [Window(-1, -2, 4, 5), Window(1, 2, 2, 2), Window(3, 5, 9, 9)])
def test_a_window_is_a_part_of_the_whole(tmp_path: Path, window: Window) -> None:
    raster = open_labels(write(tmp_path / "l.tif", [[29, 30, 70], [99, 84, 85]]), GRID, (30, 70, 85))
    whole = raster.read(GRID.window)
    padded = np.pad(whole, 20, constant_values=IGNORE)
    rows, cols = (
        slice(20 + at, 20 + at + n) for at, n in ((window.row_off, window.height), (window.col_off, window.width))
    )
    for labels in (raster, ArrayLabels(whole)):
        assert labels.read(window).tolist() == padded[rows, cols].tolist()
    assert raster.names == ("under 30", "30 to 70", "70 to 85", "85 and over")


def test_a_missing_file_and_a_negative_class_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match=r"nothing\.tif"):
        load_labels(tmp_path / "nothing.tif", GRID)
    with pytest.raises(ItemError, match="class -3"):
        load_labels(write(tmp_path / "l.tif", [[-3, 2]]), GRID)


def test_classes_are_named_by_their_cuts() -> None:
    assert name_classes((30, 70, 85), 4) == ("under 30", "30 to 70", "70 to 85", "85 and over")
    assert name_classes((), 2) == ("class 0", "class 1")


@pytest.mark.parametrize("nodata", [None, float("nan"), -1.0])
def test_nan_is_no_label_whatever_the_nodata_value(tmp_path: Path, nodata: float | None) -> None:
    path = tmp_path / "l.tif"
    frame = {
        "height": 2,
        "width": 2,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(20, 0, 500_000, 0, -20, 5_000_000),
    }
    with rasterio.open(path, "w", "GTiff", count=1, dtype="float32", nodata=nodata, **frame) as file:
        file.write(np.array([[np.nan, 90], [10, 40.5]], "float32"), 1)
    labels = load_labels(path, GRID, (30, 70, 85))
    assert labels[:, :4].tolist() == [[IGNORE, IGNORE, 3, 3]] * 2 + [[0, 0, 1, 1]] * 2
    with pytest.raises(ItemError, match="fractions"):
        load_labels(path, GRID)
