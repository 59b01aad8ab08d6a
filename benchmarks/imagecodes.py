"""Ways to send a whole cube of bands that learn no features: lossless GeoTIFFs, image codecs a band, PCA.

What is counted is all that is sent: whole files, their headers included. What both ends hold beforehand is not, as the
weights of a learned encoder are not: limits of bands, the axes of a PCA, and tables of its entropy coder. All of those
come from training pixels alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import imagecodecs
import numpy as np
from rasterio.io import MemoryFile
from rasterio.transform import from_origin

from geomask.bottleneck.container import Container
from geomask.bottleneck.tables import Tables

#: Percentiles of training pixels that become black and white.
LIMITS = (0.1, 99.9)
#: GeoTIFF tiles: the COG driver's default, or the next multiple of 16 where the image is smaller.
TILE = 512
#: From tones to light, about that of sRGB.
GAMMA = 2.2


class Code(Protocol):
    """A way to send a cube."""

    @property
    def name(self) -> str:
        """Of the contender."""

    @property
    def rates(self) -> tuple[Any, ...]:
        """Settings that `send` takes, from few bytes to many."""

    def send(self, cube: np.ndarray, train: np.ndarray, rate: Any) -> tuple[int, np.ndarray]:
        """Bytes that are sent, and the cube as received, float32 (channels, rows, columns).

        `cube`: uint16 (channels, rows, columns), all of it valid. `train`: bool (rows, columns), one or more pixels
        that statistics may be taken from. `rate`: one of `rates`.
        """


@dataclass(frozen=True, slots=True)
class Deflate:
    """Each band as a COG of its own, lossless. Of some bands: give a cube of those."""

    name: str = "deflate"
    """See Code."""
    rates: tuple[int, ...] = (0,)
    """There is but one."""

    def send(self, cube: np.ndarray, train: np.ndarray, rate: int = 0) -> tuple[int, np.ndarray]:
        """As Code has it; neither `train` nor `rate` counts."""
        files = [encode_cog(band) for band in cube]
        return sum(map(len, files)), np.stack([decode_cog(file) for file in files]).astype(np.float32)


def band_nbytes(cube: np.ndarray) -> np.ndarray:
    """Bytes of each band as a COG, int64 (channels,). `cube`: uint16 (channels, rows, columns)."""
    return np.array([len(encode_cog(band)) for band in cube], np.int64)


def encode_cog(band: np.ndarray) -> bytes:
    """A band, uint16 (rows, columns), as GDAL's COG driver writes it by DEFLATE with predictor 2, without overviews."""
    rows, columns = band.shape
    tile = min(TILE, -(-max(rows, columns) // 16) * 16)
    options = {"compress": "DEFLATE", "predictor": 2, "overviews": "NONE", "blocksize": tile}
    place = from_origin(0, rows, 1, 1)  # anywhere: rasterio warns of files that lie nowhere
    shape = {"count": 1, "height": rows, "width": columns, "dtype": band.dtype.name}
    with MemoryFile() as memory:
        with memory.open(driver="COG", transform=place, **shape, **options) as file:
            file.write(band, 1)
        return bytes(memory.read())


def decode_cog(data: bytes) -> np.ndarray:
    """The band of such a file, uint16 (rows, columns)."""
    with MemoryFile(data) as memory, memory.open() as file:
        band: np.ndarray = file.read(1)
        return band


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """From pixels to the integers that an image codec stores, and back."""

    low: np.ndarray
    """The pixel that is stored as 0, float64 (channels, 1, 1)."""
    step: np.ndarray
    """Between pixels of neighbouring integers, float64 (channels, 1, 1)."""
    most: int
    """The greatest integer: 255, stored as uint8, or 65535, as uint16."""

    @classmethod
    def fit(cls, cube: np.ndarray, train: np.ndarray, most: int, contrast: float = 1.0) -> Self:
        """`LIMITS` of each band over training pixels take the middle `contrast`, up to 1, of 0 to `most`."""
        low, high = np.percentile(cube[:, train], LIMITS, axis=1)
        width = np.maximum(high - low, 1) / contrast  # 1: a constant band
        low = (low + high - width) / 2
        return cls(low[:, None, None], width[:, None, None] / most, most)

    def store(self, cube: np.ndarray) -> np.ndarray:
        """Integers (channels, rows, columns); pixels beyond are cut off."""
        stored = np.clip(np.rint((cube - self.low) / self.step), 0, self.most)
        return stored.astype(np.uint8 if self.most == 255 else np.uint16)

    def restore(self, stored: np.ndarray) -> np.ndarray:
        """Pixels, float32 (channels, rows, columns)."""
        return (self.low + stored * self.step).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Bandwise:
    """An image codec, a file for each band; all bands are scaled alike, by their limits, and sent at one quality."""

    name: str
    """See Code."""
    most: int
    """See Scaling."""
    encode: Callable[[np.ndarray, float], bytes]
    """From a stored band (rows, columns) and a quality to a file."""
    decode: Callable[[bytes], np.ndarray]
    """From a file to a stored band."""
    rates: tuple[tuple[float, float], ...]
    """Quality, in the codec's own terms, and contrast (see Scaling), which goes on where the least quality ends."""

    def files(self, stored: np.ndarray, quality: float) -> list[bytes]:
        """What is sent of stored bands (channels, rows, columns): a file each."""
        return [self.encode(band, quality) for band in stored]

    def send(self, cube: np.ndarray, train: np.ndarray, rate: tuple[float, float]) -> tuple[int, np.ndarray]:
        """As Code has it."""
        quality, contrast = rate
        scaling = Scaling.fit(cube, train, self.most, contrast)
        files = self.files(scaling.store(cube), quality)
        return sum(map(len, files)), scaling.restore(np.stack([self.decode(file) for file in files]))


def _encode_jpeg2000(band: np.ndarray, psnr: float) -> bytes:
    """A bare codestream, with the 9/7 wavelet. PSNR in whole dB of the full 16 bits."""
    resolutions = min(6, min(band.shape).bit_length())  # 6 is the default; a small image has not as many
    options = {"codecformat": "j2k", "reversible": False, "resolutions": resolutions, "numthreads": 1}
    return bytes(imagecodecs.jpeg2k_encode(band, level=int(psnr), **options))


def _encode_jpegxl(band: np.ndarray, distance: float) -> bytes:
    """A bare codestream. Distance 1 is what an eye just sees, 25 the most."""
    return bytes(imagecodecs.jpegxl_encode(_bend(band, GAMMA), distance=distance, numthreads=1))


def _decode_jpegxl(data: bytes) -> np.ndarray:
    return _bend(imagecodecs.jpegxl_decode(data, numthreads=1), 1 / GAMMA)


def _bend(band: np.ndarray, power: float) -> np.ndarray:
    """Of 16 bits JPEG XL takes the values for light, of which an eye tells dark tones best; bent they are tones."""
    return np.rint(65535 * (band / 65535) ** power).astype(np.uint16)


def _encode_webp(band: np.ndarray, quality: float) -> bytes:
    """Lossy, by the slowest and best method. WebP knows no grey: the band is red, green and blue, all alike."""
    grey = np.repeat(band[..., None], 3, axis=2)
    return bytes(imagecodecs.webp_encode(grey, level=quality, lossless=False, method=6, numthreads=1))


def _decode_webp(data: bytes) -> np.ndarray:
    green: np.ndarray = imagecodecs.webp_decode(data)[..., 1]
    return green


def _encode_jpeg(band: np.ndarray, quality: float) -> bytes:
    """Baseline, grey, with Huffman tables of its own."""
    return bytes(imagecodecs.jpeg8_encode(band, level=int(quality), optimize=True))


_decode_jpeg2000 = partial(imagecodecs.jpeg2k_decode, numthreads=1)
#: Rates that take 0.05 to 3 bits a pixel of a band of Indian Pines; JPEG's headers alone take 0.1.
JPEG2000_RATES = ((17, 1), (20, 1), (23, 1), (27, 1), (33, 1), (40, 1))
JPEGXL_RATES = ((25, 0.125), (25, 0.25), (25, 0.5), (25, 1), (4, 1), (1, 1))
WEBP_RATES = ((0, 0.125), (0, 0.25), (0, 0.5), (0, 1), (20, 1), (90, 1))
JPEG_RATES = ((1, 0.5), (1, 1), (5, 1), (10, 1), (25, 1), (75, 1))
#: Components and steps along the lower hull of bits against error there; 0.005 to 1 bit.
PCA_RATES = ((2, 1), (2, 1 / 2), (4, 1 / 4), (8, 1 / 8), (16, 1 / 16), (32, 1 / 16), (32, 1 / 32), (64, 1 / 64))


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """A PCA over standardised channels."""

    mean: np.ndarray
    """Of each channel, float64 (channels, 1, 1)."""
    deviation: np.ndarray
    """Standard deviation of each channel, float64 (channels, 1, 1); 1 where a channel is constant."""
    axes: np.ndarray
    """Directions of most variance first, each of length 1, float64 (components, channels)."""

    @classmethod
    def fit(cls, cube: np.ndarray, train: np.ndarray, components: int) -> Self:
        """Of training pixels; no more components than channels."""
        pixels = cube[:, train].astype(np.float64)
        mean, deviation = pixels.mean(1, keepdims=True), pixels.std(1, keepdims=True)
        deviation[deviation == 0] = 1
        standard = (pixels - mean) / deviation
        _, vectors = np.linalg.eigh(standard @ standard.T / standard.shape[1])
        return cls(mean[..., None], deviation[..., None], np.ascontiguousarray(vectors.T[::-1][:components]))

    @property
    def unit(self) -> float:
        """How far a pixel moves when each channel moves by its standard deviation: one length for all components."""
        return float(np.sqrt(len(self.mean)))

    def project(self, cube: np.ndarray) -> np.ndarray:
        """From (channels, rows, columns) to float64 (components, rows, columns), in `unit`."""
        return np.tensordot(self.axes, (cube - self.mean) / self.deviation, 1) / self.unit

    def restore(self, projected: np.ndarray) -> np.ndarray:
        """The way back: float32 (channels, rows, columns)."""
        standard = np.tensordot(self.axes.T, projected * self.unit, 1)
        return (self.mean + self.deviation * standard).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Pca:
    """Components of a linear PCA, rounded to steps and sent as our latents are, by the same entropy coder.

    One step for all components: those that vary less than it vanish, which is how bits are best shared out (reverse
    water-filling). Axes and tables are the model that both ends hold, as the learned encoder is, and are not counted.
    """

    name: str = "pca"
    """See Code."""
    rates: tuple[tuple[int, float], ...] = PCA_RATES
    """Components, and step in `Axes.unit`."""

    def fit(self, cube: np.ndarray, train: np.ndarray, rate: tuple[int, float]) -> tuple[Axes, Tables, np.ndarray]:
        """The model, and what is sent by it, int32 (components, rows, columns): all that no table has is cut off."""
        components, step = rate
        axes = Axes.fit(cube, train, components)
        latents = np.rint(axes.project(cube) / step).astype(np.int32)
        tables = Tables.fit([latents], [train])
        return axes, tables, tables.clip(latents)

    def send(self, cube: np.ndarray, train: np.ndarray, rate: tuple[int, float]) -> tuple[int, np.ndarray]:
        """As Code has it."""
        axes, tables, latents = self.fit(cube, train, rate)
        model = hashlib.sha256(axes.axes.tobytes()).hexdigest()
        data = Container(latents, np.ones(train.shape, bool), model, 1).encode(tables)
        return len(data), axes.restore(latents * rate[1])


CODES: tuple[Code, ...] = (
    Deflate(),
    Bandwise("jpeg2000", 65535, _encode_jpeg2000, _decode_jpeg2000, JPEG2000_RATES),
    Bandwise("jpegxl", 65535, _encode_jpegxl, _decode_jpegxl, JPEGXL_RATES),
    Bandwise("webp", 255, _encode_webp, _decode_webp, WEBP_RATES),
    Bandwise("jpeg", 255, _encode_jpeg, imagecodecs.jpeg8_decode, JPEG_RATES),
    Pca(),
)
