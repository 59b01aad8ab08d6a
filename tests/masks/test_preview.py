import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.transform import from_origin

from geomask.errors import SelectionError
from geomask.masks.preview import Preview


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.sampled_from(["nearest", "average"]))
def test_a_pixel_of_the_preview_is_made_of_its_own_pixels(rows: int, columns: int, factor: int, how: str):
    image = torch.arange(2 * 3 * rows * columns, dtype=torch.float32).reshape(2, 3, rows, columns)
    preview = Preview((2, 0), factor, resampling=how)
    shown = preview(image)
    assert shown.shape == (2, *preview.size((rows, columns)))
    for row in range(shown.shape[2]):
        for column in range(shown.shape[3]):
            part = image[:, [2, 0], row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            expected = part[..., 0, 0] if how == "nearest" else part.mean((2, 3))
            assert torch.allclose(shown[:, :, row, column], expected)


def test_average_is_what_gdal_writes_into_an_overview(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 5000, (48, 80), np.uint16)
    place = {"width": 80, "height": 48, "crs": "EPSG:32633", "transform": from_origin(0, 0, 10, 10)}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=1, dtype="uint16", **place) as file:
        file.write(pixels, 1)
        file.build_overviews([4], Resampling.average)
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as file:
        overview = file.read(1)
    shown = Preview((0,), 4)(torch.from_numpy(pixels.astype(np.float32))[None, None])
    assert np.abs(shown[0, 0].numpy() - overview).max() <= 0.5  # rounded to whole numbers


def test_a_version_that_is_an_overview_is_taken_as_it_is():
    overview = torch.randn(2, 3, 3, 5)
    filled = overview.repeat_interleave(4, 2).repeat_interleave(4, 3)
    image = torch.stack([torch.randn(2, 3, 12, 20), filled], 1)
    assert torch.equal(Preview((1,), 4, 1, "nearest")(image), overview[:, [1]])
    nested = torch.stack([image, torch.randn_like(image)], 2)
    assert torch.equal(Preview((1,), 4, 1, "nearest")(nested), overview[:, [1]])


@pytest.mark.parametrize("fields", [((), 1), ((0, 0), 1), ((-1,), 1), ((0,), 0), ((0,), 1, -1), ((0,), 1, 0, "mode")])
def test_a_preview_of_nothing_is_refused(fields):
    with pytest.raises(SelectionError, match="a preview has"):
        Preview(*fields)
