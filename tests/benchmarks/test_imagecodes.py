from functools import cache

import numpy as np
import pytest
import rasterio

CODES = ("deflate", "jpeg2000", "jpegxl", "webp", "jpeg", "pca")


@cache
def make_cube(channels: int = 24, rows: int = 50, columns: int = 70) -> np.ndarray:
    """Fields of four smooth materials in a noise of 20, bands of differing contrast."""
    rng = np.random.default_rng(0)
    y, x = np.indices((rows, columns))
    shares = np.stack([np.sin(y / 7 + phase) * np.cos(x / (5 + phase)) + (x // 17 == phase) for phase in range(4)])
    spectra = rng.normal(0, 1, (channels, 4)) * np.linspace(40, 600, channels)[:, None]
    cube = 3000 + np.tensordot(spectra, shares, 1) + rng.normal(0, 20, (channels, rows, columns))
    return np.clip(np.rint(cube), 0, 10_000).astype(np.uint16)


def make_train(shape: tuple[int, ...]) -> np.ndarray:
    """Half of the cells of 10 x 10 pixels."""
    y, x = np.indices(shape[1:]) // 10
    return (y + x) % 2 == 0


@cache
def send_all(name: str) -> tuple[tuple[int, float], ...]:
    """Bytes, and the mean squared error in variances, of each rate."""
    code, cube = find(name), make_cube()
    sent = [code.send(cube, make_train(cube.shape), rate) for rate in code.rates]
    variances = cube.var((1, 2), keepdims=True)
    return tuple((nbytes, float((((received - cube) ** 2) / variances).mean())) for nbytes, received in sent)


def find(name: str):
    from imagecodes import CODES

    return next(code for code in CODES if code.name == name)


def test_all_codes_are_there():
    from imagecodes import CODES as FOUND

    assert tuple(code.name for code in FOUND) == CODES


@pytest.mark.parametrize("name", CODES)
def test_finer_rates_take_more_bytes_and_lose_less(name: str):
    nbytes, errors = np.array(send_all(name)).T
    assert (np.diff(nbytes) > 0).all()
    assert (np.diff(errors) <= 0.02 * errors[:-1]).all()
    assert errors[-1] < 0.02


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("shape", [(1, 9, 20), (3, 50, 50)])
def test_any_size_comes_back_as_it_was_sent(name: str, shape: tuple[int, int, int]):
    code, cube = find(name), make_cube(*shape)
    for rate in (code.rates[0], code.rates[-1]):
        nbytes, received = code.send(cube, np.ones(shape[1:], bool), rate)
        assert nbytes > 0
        assert received.shape == shape
        assert received.dtype == np.float32
        assert np.isfinite(received).all()


@pytest.mark.parametrize("name", CODES)
def test_a_constant_band_stays_constant(name: str):
    code, cube = find(name), make_cube(3).copy()
    cube[1] = 1234
    _, received = code.send(cube, make_train(cube.shape), code.rates[-1])
    assert np.abs(received[1] - 1234).max() <= 1


def test_deflate_is_exact_and_a_cog_a_band():
    from imagecodes import band_nbytes, encode_cog

    cube = make_cube()
    nbytes, received = find("deflate").send(cube, make_train(cube.shape), 0)
    assert np.array_equal(received, cube)
    files = [encode_cog(band) for band in cube]
    assert band_nbytes(cube).tolist() == [len(file) for file in files]
    assert band_nbytes(cube).dtype == np.int64
    assert nbytes == band_nbytes(cube).sum()
    assert find("deflate").send(cube[[2, 5]], make_train(cube.shape), 0)[0] == len(files[2]) + len(files[5])


@pytest.mark.parametrize(("rows", "columns", "tile"), [(50, 70, 80), (145, 145, 160), (16, 600, 512)])
def test_a_cog_is_what_gdal_calls_one(rows: int, columns: int, tile: int):
    from imagecodes import encode_cog

    with rasterio.MemoryFile(encode_cog(make_cube(1, rows, columns)[0])) as memory, memory.open() as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert file.compression.name == "deflate"
        assert file.block_shapes == [(tile, tile)]
        assert file.overviews(1) == []


@pytest.mark.parametrize(
    ("name", "start"),
    [("jpeg2000", b"\xff\x4f\xff\x51"), ("jpegxl", b"\xff\x0a"), ("webp", b"RIFF"), ("jpeg", b"\xff\xd8\xff")],
)
def test_bytes_are_those_of_whole_files(name: str, start: bytes):
    from imagecodes import Scaling

    code, cube = find(name), make_cube(4)
    train, (quality, contrast) = make_train(cube.shape), code.rates[3]
    scaling = Scaling.fit(cube, train, code.most, contrast)
    files = code.files(scaling.store(cube), quality)
    nbytes, received = code.send(cube, train, code.rates[3])
    assert all(file.startswith(start) for file in files)
    assert nbytes == sum(len(file) for file in files)
    assert np.array_equal(received, scaling.restore(np.stack([code.decode(file) for file in files])))


@pytest.mark.parametrize("contrast", [1.0, 0.25])
@pytest.mark.parametrize("most", [255, 65535])
def test_scaling_loses_half_a_step_and_what_is_beyond_its_limits(most: int, contrast: float):
    from imagecodes import Scaling

    cube = make_cube()
    train = make_train(cube.shape)
    scaling = Scaling.fit(cube, train, most, contrast)
    low, high = np.percentile(cube[:, train], (0.1, 99.9), axis=1)[..., None, None]
    inside = (cube >= low) & (cube <= high)
    stored = scaling.store(cube)
    assert np.ptp(stored[inside].astype(int)) <= contrast * most + 1
    lost = np.abs(scaling.restore(stored) - cube)
    assert (lost <= scaling.step / 2 + 1e-3)[inside].all()
    assert stored.dtype == (np.uint8 if most == 255 else np.uint16)


@pytest.mark.parametrize("name", CODES[1:5])
def test_limits_come_from_training_pixels_alone(name: str):
    from imagecodes import Scaling

    code, cube = find(name), make_cube()
    train = make_train(cube.shape)
    other = np.where(train, cube, 9999).astype(np.uint16)
    one, two = (Scaling.fit(image, train, code.most) for image in (cube, other))
    assert np.array_equal(one.low, two.low)
    assert np.array_equal(one.step, two.step)


def test_axes_and_tables_come_from_training_pixels_alone():
    cube = make_cube()
    train = make_train(cube.shape)
    other = np.where(train, cube, np.random.default_rng(1).integers(9999, size=cube.shape)).astype(np.uint16)
    for rate in find("pca").rates:
        (axes, tables, _), (again, same, _) = (find("pca").fit(image, train, rate) for image in (cube, other))
        assert np.array_equal(axes.axes, again.axes)
        assert np.array_equal(axes.mean, again.mean)
        assert np.array_equal(axes.deviation, again.deviation)
        assert tables.digest == same.digest


def test_axes_are_those_of_a_pca():
    from imagecodes import Axes

    cube = make_cube()
    train = make_train(cube.shape)
    axes = Axes.fit(cube, train, len(cube))
    assert np.allclose(axes.axes @ axes.axes.T, np.eye(len(cube)))
    projected = axes.project(cube)
    assert np.allclose(axes.restore(projected), cube, atol=0.01)
    covariance = np.cov(projected[:, train])
    assert np.allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
    assert (np.diff(np.diag(covariance)) <= 1e-9).all()
    assert np.isclose((projected[:, train] ** 2).sum(0).mean(), 1)


def test_pca_sends_our_container_and_the_receiver_has_nothing_else():
    from geomask.bottleneck.container import Container

    code, cube = find("pca"), make_cube()
    train, rate = make_train(cube.shape), (4, 0.125)
    axes, tables, latents = code.fit(cube, train, rate)
    nbytes, received = code.send(cube, train, rate)
    data = Container(latents, np.ones(train.shape, bool), "0" * 64, 1).encode(tables)
    assert nbytes == len(data)
    decoded = Container.decode(data, tables, "0" * 64).latents
    assert np.array_equal(axes.restore(decoded * rate[1]), received)
