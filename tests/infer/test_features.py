"""Features beside the data, and what becomes of them at the other end, part by part."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import items as stac
import links
import maps
import numpy as np
import pystac
import pytest

from geomask.bottleneck.container import Container
from geomask.bottleneck.run import open_run
from geomask.bottleneck.transfer import encoder_digest
from geomask.cog.level import ByteRange
from geomask.errors import FetchError, ManifestError, RunError
from geomask.grid import Grid, Window
from geomask.infer import latents
from geomask.infer.features import FeatureMaker, far_field, link_field, link_of, near_field
from geomask.infer.field import Field
from geomask.infer.latents import StoredLatents
from geomask.infer.origin import Origin
from geomask.infer.tiling import Tiling
from geomask.plan.limits import LATENT
from geomask.plan.manifest import Manifest
from geomask.plan.request import ReadRequest, Requests
from geomask.plan.schema import sound_lines
from geomask.read.reader import read_manifest
from geomask.train.run import Run

SIZE = (61, 47)
GRID = Grid("EPSG:32633", 500_000, 5_000_000, 10, 10, *SIZE)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with links.small(monkeypatch):
        yield


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[pystac.Item]:
    return stac.write_items(tmp_path_factory.mktemp("files"), dates=4, bands=("B02", "B03"), height=8, width=8)


@pytest.fixture(scope="module")
def runs(items: list[pystac.Item], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Of strides 1 and 2, and one that reads pixels at the far end too."""
    folder = tmp_path_factory.mktemp("runs")
    kinds: dict[str, dict[str, Any]] = {"one": {}, "two": {"halvings": 1}, "mix": {"far": (2,)}}
    return {name: open_run(links.write_run(folder / name, items, **kind)) for name, kind in kinds.items()}


def scene(channels: int = 3) -> np.ndarray:
    """Stored values, 0 where not valid: some pixels, and all of some rows."""
    rng = np.random.default_rng(0)
    image = rng.integers(1, 60_000, (channels, *SIZE)).astype(np.float32)
    image[rng.random(image.shape) < 0.2] = 0
    image[:, 20:27] = 0
    return image


def test_each_side_looks_as_far_as_it_does(runs: dict[str, Run]) -> None:
    near, far = near_field(runs["two"]), far_field(runs["two"])
    assert (near, far.stride) == (Field(4, 2), 2)
    assert link_field(runs["two"]) == Field(near.halo + far.halo, 2)
    assert far_field(runs["mix"]) == Field(2, 1)  # of a small network over pixels and latents


def test_a_run_without_a_link_makes_no_features(items: list[pystac.Item], tmp_path: Path) -> None:
    plain = open_run(maps.write_run(tmp_path / "run", items))
    for ask in (FeatureMaker, near_field, far_field):
        with pytest.raises(RunError, match="sends no features"):
            ask(plain)


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("side", [26])
def test_features_put_together_are_one_pass_of_the_encoder(runs: dict[str, Run], name: str, side: int) -> None:
    run, image = runs[name], scene()
    maker, found = FeatureMaker(run), near_field(run)
    tiling, whole = Tiling(GRID, side, side // 2 // found.stride * found.stride, found.halo, found.stride), None
    whole = links.symbols_of(run, image)
    for tile in tiling:
        part = (slice(None), *slices(tile.window))
        made = maker.make(image[part], image[part] != 0, tiling.cuts(tile))
        core, window = latents.cells_of(tile.core, found.stride), latents.cells_of(tile.window, found.stride)
        inside = slices(core, window.row_off, window.col_off)
        seen, want = made.seen[inside], whole[(slice(None), *slices(core))]
        np.testing.assert_array_equal(made.latents[(slice(None), *inside)][:, seen], want[:, seen])
        assert seen.any()


def slices(window: Window, row: int = 0, col: int = 0) -> tuple[slice, slice]:
    return slice(window.row_off - row, window.row_stop - row), slice(window.col_off - col, window.col_stop - col)


# --- containers in a folder -------------------------------------------------------------------------------------------


def store(folder: Path, run: Run, side: int = 16) -> tuple[Origin, np.ndarray, np.ndarray]:
    """Features of a scene as they lie in a folder; with them all symbols, blank where not seen, and what was seen."""
    link, image = link_of(run), scene()
    seen = latents.cells_of(Window(0, 0, *SIZE), link.stride)
    cells = (image != 0).any(0)
    cells = np.pad(cells, [(0, -side % link.stride) for side in SIZE])
    cells = cells.reshape(seen.height, link.stride, seen.width, link.stride).any((1, 3))
    symbols = np.where(cells, links.symbols_of(run, image), link.tables.blanks[:, None, None]).astype(np.int32)
    tiling, tiles = Tiling(GRID, side, side, 0, link.stride), dict[str, int | None]()
    (folder / "tiles").mkdir(parents=True)
    for tile in tiling:
        at = slices(latents.cells_of(tile.core, link.stride))
        if tile.number == 4:  # of one tile nothing is there
            tiles[tile.name], cells[at], symbols[(slice(None), *at)] = None, False, 0
            continue
        made = Container(symbols[(slice(None), *at)].copy(), cells[at].copy(), encoder_digest(run.model), link.stride)
        data = made.encode(link.tables)
        (folder / "tiles" / f"{tile.name}.gmf").write_bytes(data)
        tiles[tile.name] = len(data)
    digests = encoder_digest(run.model), link.tables.digest, "d" * 64
    origin = Origin(str(folder), *digests, GRID, link.stride, link.tables.latents, "set", side, tiles)
    return origin, symbols, cells


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize(
    "window", [Window(0, 0, *SIZE), Window(5, 7, 30, 33), Window(60, 46, 1, 1), Window(16, 32, 9, 9)]
)
def test_any_window_is_put_together_of_containers(
    runs: dict[str, Run], tmp_path: Path, name: str, window: Window
) -> None:
    origin, symbols, cells = store(tmp_path, runs[name])
    reading = StoredLatents(origin, link_of(runs[name]).tables).read([], window)
    over = [values.repeat(origin.stride, -2).repeat(origin.stride, -1) for values in (symbols * cells, cells)]
    wanted, seen = (values[..., *slices(window)] for values in over)
    np.testing.assert_array_equal(reading.image, wanted)
    np.testing.assert_array_equal(reading.valid, np.broadcast_to(seen, reading.image.shape))
    np.testing.assert_array_equal(reading.seen, seen)


def test_a_container_comes_once_and_the_receipt_says_what_was_planned(runs: dict[str, Run], tmp_path: Path) -> None:
    origin, _, _ = store(tmp_path, runs["one"])
    stored, window = StoredLatents(origin, link_of(runs["one"]).tables), Window(0, 0, *SIZE)
    reading = stored.read([], window)
    manifest, receipt = reading.manifests["latents"], reading.receipts["latents"]
    sizes = sum(size or 0 for size in origin.tiles.values())
    assert manifest.planned_nbytes == receipt.planned_nbytes == receipt.nbytes == sizes
    assert manifest.planned_requests == receipt.requests == len(origin.tiles) - 1
    assert manifest.header_nbytes == receipt.header_nbytes == 0
    again = stored.read([], window)
    assert again.receipts["latents"].requests == 0
    assert again.manifests["latents"] == manifest
    planned = stored.manifests([], [window, Window(3, 3, 20, 20)])["latents"]
    assert planned.planned_nbytes == sizes


def test_what_is_held_is_bounded(runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin, _, _ = store(tmp_path, runs["one"])
    monkeypatch.setattr(latents, "KEPT", 3 * 16 * 16 * 4 * 2)  # two tiles
    stored = StoredLatents(origin, link_of(runs["one"]).tables)
    first = stored.read([], Window(0, 0, *SIZE))
    assert first.receipts["latents"].requests == len(origin.tiles) - 1
    assert stored.read([], Window(0, 0, 16, 16)).receipts["latents"].requests == 1


def test_what_is_broken_is_named_and_asked_for_once(runs: dict[str, Run], tmp_path: Path) -> None:
    origin, _, _ = store(tmp_path, runs["one"])
    path = tmp_path / "tiles" / "r00000_c00000.gmf"
    data = path.read_bytes()
    path.write_bytes(data[:-9] + b"x" + data[-8:])
    stored = StoredLatents(origin, link_of(runs["one"]).tables)
    for _ in range(2):
        with pytest.raises(RunError, match=r"r00000_c00000\.gmf: features of \d+ bytes are broken"):
            stored.read([], Window(0, 0, 20, 20))
    assert stored.read([], Window(0, 32, 10, 10)).seen.any()
    path.write_bytes(data + b"x")
    with pytest.raises(FetchError, match="changed since it was planned"):
        StoredLatents(origin, link_of(runs["one"]).tables).read([], Window(0, 0, 8, 8))
    path.unlink()
    with pytest.raises(FetchError, match="no such file"):
        StoredLatents(origin, link_of(runs["one"]).tables).read([], Window(0, 0, 8, 8))


def test_containers_of_another_shape_are_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    origin, _, _ = store(tmp_path, runs["one"])
    tables, names = link_of(runs["one"]).tables, ("r00000_c00000", "r00003_c00000")
    last = (tmp_path / "tiles" / f"{names[1]}.gmf").read_bytes()  # of fewer rows
    (tmp_path / "tiles" / f"{names[0]}.gmf").write_bytes(last)
    stored = StoredLatents(replace(origin, tiles={**origin.tiles, names[0]: len(last)}), tables)
    with pytest.raises(RunError, match=r"features of \(13, 16\) rows and columns; \(16, 16\) were asked for"):
        stored.read([], Window(0, 0, 8, 8))
    other = StoredLatents(replace(origin, model="ab" * 32), tables)
    with pytest.raises(RunError, match="features of model"):
        other.read([], Window(0, 16, 8, 8))


# --- manifests of containers ------------------------------------------------------------------------------------------


@pytest.fixture
def manifest(runs: dict[str, Run], tmp_path: Path) -> Manifest:
    origin, _, _ = store(tmp_path / "set", runs["one"])
    return StoredLatents(origin, link_of(runs["one"]).tables).manifests([], [Window(0, 0, 20, 20)])["latents"]


def test_a_manifest_of_containers_is_read_back_equal(manifest: Manifest, tmp_path: Path) -> None:
    for name in ("m.geomask.parquet", "m.geomask.jsonl"):
        manifest.save(tmp_path / name)
        again = Manifest.load(tmp_path / name)
        assert again == manifest
        assert list(again.explain()) == list(manifest.explain())
    faults: list[str] = []
    assert len(list(sound_lines(manifest.lines(), faults, 10))) == 1 + len(manifest.requests)
    assert faults == []
    assert Counter(what for _, _, what in manifest.explain()) == {"pixels": 3}  # of the fourth nothing is there
    assert "4 requests" not in manifest.summary()


def test_nobody_takes_latents_for_pixels(manifest: Manifest) -> None:
    with pytest.raises(ManifestError, match=r"\.gmf holds features, no pixels; `geomask infer --from-features`"):
        read_manifest(manifest)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"level": 0}, "a container has neither"),
        ({"header_nbytes": 10}, "a container has neither"),
        ({"why": "strips"}, "a container has neither"),
        ({"size": 0}, "a container has some"),
        ({"dtype": "uint16"}, "cannot have a header of 0"),
    ],
)
def test_a_container_has_no_levels_and_no_header(manifest: Manifest, change: dict[str, Any], said: str) -> None:
    first = manifest.requests[0]
    broken = replace(manifest, requests=Requests.of([replace(first, source=replace(first.source, **change))]))
    with pytest.raises(ManifestError, match=said):
        list(broken.lines())


def test_a_container_is_read_whole(manifest: Manifest) -> None:
    first = manifest.requests[0]
    size = first.source.size
    assert first.source.dtype == LATENT
    for ranges in ((), (ByteRange(0, size - 1),), (ByteRange(1, size - 1),), (ByteRange(0, size),) * 2):
        wholes = tuple(piece.length for piece in ranges)
        read = ReadRequest(first.source, 0, first.window, ranges, wholes)
        with pytest.raises(ManifestError, match=r"request 0: a part of .*; a container of latents is read whole"):
            list(replace(manifest, requests=Requests.of([read])).lines())


# --- what a place says of itself --------------------------------------------------------------------------------------


def test_what_features_are_is_read_back_equal(runs: dict[str, Run], tmp_path: Path) -> None:
    origin, _, _ = store(tmp_path, runs["two"])
    assert Origin.from_dict(origin.to_dict(), origin.place) == origin
    served = replace(origin, side=None, tiles={})
    said = {name: value for name, value in served.to_dict().items() if name not in ("side", "tiles", "failed", "area")}
    assert Origin.from_dict({**said, "halo": 4}, origin.place) == served


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"geomask": "map"}, "holds no geomask features"),
        ({"version": 2}, "features of version 2; this geomask reads version 1"),
        ({"model": 7}, r"features\.json is broken: TypeError 7 is no text"),
        ({"stride": 0}, "a stride of 0"),
        ({"latents": 1 << 40}, "features of 1099511627776 latents"),
        ({"side": 15}, "no multiple of their stride"),
        ({"side": 1 << 20}, "a container has"),
        ({"grid": {}}, "TypeError"),
        ({"tiles": {"a": -1}}, "no whole number"),
        ({"tiles": []}, "AttributeError"),
    ],
)
def test_what_a_stranger_says_of_features_is_checked(
    runs: dict[str, Run], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    origin, _, _ = store(tmp_path, runs["two"])
    with pytest.raises(RunError, match=said):
        Origin.from_dict(origin.to_dict() | change, "there")


def test_features_of_another_model_are_named(runs: dict[str, Run], items: list[pystac.Item], tmp_path: Path) -> None:
    run = runs["one"]
    selection = run.selection.on(items)
    origin = replace(store(tmp_path / "set", run)[0], selection=selection.digest)
    origin.check(run, selection)
    other = open_run(links.write_run(tmp_path / "teacher", items, teacher=1))
    origin.check(other, other.selection.on(items))  # another teacher, and the same encoder
    with pytest.raises(RunError, match="its encoder are"):
        origin.check(open_run(links.write_run(tmp_path / "seed", items, seed=1)), selection)
    for name, said in (("tables", "coder's tables"), ("selection", "channels and slots")):
        with pytest.raises(RunError, match=f"features of another model: its {said} are abababababababab"):
            replace(origin, **{name: "ab" * 32}).check(run, selection)
