import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from geomask.chips.encodings import Encoding, encode, encode_all
from geomask.errors import LayoutError, SelectionError

EVERY = ["original", "jpeg:90", "jpeg:20", "webp:90", "webp:20", "bits:8", "bits:4", "bits:1"]


def scene(dtype: str, bands: int = 3, rows: int = 70, columns: int = 150) -> np.ndarray:
    """Smooth, as land is, with a little noise."""
    noise = np.random.default_rng(0)
    y, x = np.mgrid[:rows, :columns]
    values = np.stack([1 + np.sin(y / (9 + band)) * np.cos(x / (14 + band)) for band in range(bands)]) / 2
    values = values + noise.normal(0, 0.01, values.shape)
    scaled = values.clip(0, 1) * (255 if dtype == "uint8" else 9000) + (0 if dtype == "uint8" else 300)
    return scaled.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("name", EVERY)
def test_a_copy_lies_on_the_same_grid_and_is_close(name: str, dtype: str) -> None:
    pixels = scene(dtype)
    copy = encode(pixels, name, tile=64)
    assert (copy.pixels.shape, copy.pixels.dtype) == (pixels.shape, pixels.dtype)
    assert str(copy.encoding) == name
    planes = 1 if name.startswith("webp") else 3
    assert copy.tiles.shape == (planes, 2, 3)
    assert copy.tiles.min() > 0
    assert copy.nbytes == copy.header_nbytes + copy.tiles.sum()
    error = np.abs(copy.pixels.astype(float) - pixels).mean() / (pixels.max() - pixels.min())
    bound = {"original": 0, "bits:8": 1 / 500, "bits:4": 1 / 50, "bits:1": 1 / 3, "jpeg:90": 0.02, "jpeg:20": 0.05}
    assert error <= bound.get(name, 0.2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_lower_quality_takes_fewer_bytes(dtype: str) -> None:
    for names in (["jpeg:90", "jpeg:50", "jpeg:10"], ["webp:90", "webp:50", "webp:10"], ["bits:8", "bits:4", "bits:2"]):
        sizes = [copy.nbytes for copy in encode_all(scene(dtype), ["original", *names], tile=64)]
        assert sizes[0] >= sizes[1] > sizes[2] > sizes[3]


@pytest.mark.parametrize("name", ["jpeg:35", "webp:35", "original"])
def test_pixels_and_bytes_are_those_of_a_file_that_gdal_writes(name: str, tmp_path: object) -> None:
    """Written anew, without our code."""
    pixels = scene("uint8")
    kind, _, quality = name.partition(":")
    options = {
        "jpeg": {"compress": "JPEG", "jpeg_quality": quality, "interleave": "band"},
        "webp": {"compress": "WEBP", "webp_level": quality, "interleave": "pixel"},
        "original": {"compress": "DEFLATE", "predictor": 2, "interleave": "band"},
    }[kind]
    with MemoryFile() as memory:
        place = rasterio.Affine(1, 0, 0, 0, -1, 70)
        with memory.open(
            driver="GTiff", count=3, height=70, width=150, dtype="uint8", transform=place, tiled=True,
            blockxsize=64, blockysize=64, **options,
        ) as file:  # fmt: skip
            file.write(pixels)
        size = len(memory.read())
        with memory.open() as file:
            read = file.read()
            blocks = [
                [int(file.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=band)) for y in range(2) for x in range(3)]
                for band in ([1] if kind == "webp" else [1, 2, 3])
            ]
    copy = encode(pixels, name, tile=64)
    assert np.array_equal(copy.pixels, read)
    assert copy.nbytes == size
    assert copy.tiles.reshape(-1, 6).tolist() == blocks


@given(st.integers(1, 16), st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 1000))
@settings(max_examples=40)
def test_fewer_bits_are_the_formula(bits: int, one: int, other: int, seed: int) -> None:
    low, high = sorted((one, other))
    pixels = np.random.default_rng(seed).integers(low, high, (2, 5, 9), np.uint16, endpoint=True)
    copy = encode(pixels, f"bits:{bits}", tile=16, limits=(np.array(low), np.array(high)))
    step = (high - low) / (2**bits - 1)
    stored = np.rint((pixels - low) / step) if step else np.zeros(pixels.shape)
    assert np.array_equal(copy.pixels, np.rint(low + stored * step).astype(np.uint16))
    assert np.abs(copy.pixels.astype(float) - pixels).max() <= step / 2 + 0.5


def test_sixteen_bits_are_scaled_by_each_bands_own_limits_unless_they_are_given() -> None:
    pixels = np.stack([np.full((16, 16), 500), np.arange(256).reshape(16, 16) * 40]).astype(np.uint16)
    own = encode(pixels, "bits:8", tile=16)
    assert np.array_equal(own.pixels, pixels)
    given_limits = encode(pixels, "bits:8", tile=16, limits=(np.array([0, 0]), np.array([1020, 1020])))
    assert np.array_equal(given_limits.pixels[0], np.full((16, 16), 500))
    assert given_limits.pixels[1].max() == 1020


def test_eight_bits_of_a_byte_and_sixteen_of_two_are_all() -> None:
    for dtype, name in (("uint8", "bits:8"), ("uint16", "bits:16")):
        assert np.array_equal(encode(scene(dtype), name).pixels, scene(dtype))


def test_webp_takes_three_bands_at_a_time() -> None:
    copy = encode(scene("uint16", bands=6), "webp:80", tile=64)
    assert copy.pixels.shape == (6, 70, 150)
    assert copy.tiles.shape == (2, 2, 3)


@pytest.mark.parametrize("name", EVERY)
def test_a_name_is_read_back(name: str) -> None:
    assert str(Encoding.parse(name)) == name


@pytest.mark.parametrize(
    "name", ["", "jpeg", "jpeg:0", "jpeg:101", "webp:-1", "bits:17", "bits:²", "png:5", "original:3"]
)
def test_what_is_no_encoding_is_an_error(name: str) -> None:
    with pytest.raises(SelectionError, match="choose original, jpeg:1 to jpeg:100"):
        encode(scene("uint8"), name)


@pytest.mark.parametrize(
    ("pixels", "name", "options", "words"),
    [
        (np.zeros((2, 8, 8), np.uint8), "webp:50", {}, "three bands|3 bands"),
        (np.zeros((2, 8, 8), np.int16), "jpeg:50", {}, "int16"),
        (np.zeros((8, 8), np.uint8), "jpeg:50", {}, r"\(8, 8\)"),
        (np.zeros((0, 8, 8), np.uint8), "original", {}, r"\(0, 8, 8\)"),
        (np.zeros((2, 8, 8), np.uint8), "bits:9", {}, "no 9 bits"),
        (np.zeros((2, 8, 8), np.uint8), "original", {"tile": 40}, "multiple of 16"),
        (np.zeros((2, 8, 8), np.uint16), "bits:4", {"limits": (np.array([5]), np.array([4]))}, "low <= high"),
        (np.zeros((2, 8, 8), np.uint16), "bits:4", {"limits": (np.zeros(3), np.ones(3))}, "2 bands"),
    ],
)
def test_what_an_encoding_cannot_hold_is_an_error(pixels: np.ndarray, name: str, options: dict, words: str) -> None:
    with pytest.raises(LayoutError, match=words):
        encode(pixels, name, **options)
