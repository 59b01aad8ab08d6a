import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("infer")


def tiny():
    from inferscene import TEST, Scene

    return Scene(TEST, 300, block=128)


@pytest.fixture
def files(cache: Path) -> Path:
    return tiny().publish(cache, lambda: None)


def peer(folder: Path, script: str, name: str = "odc-stac dense"):
    """A contender whose script is `script`; it knows `job`."""
    from inferpeers import Contender

    path = folder / "peer.py"
    path.write_text(f"import json, sys\njob = json.load(open(sys.argv[1]))\n{script}")
    return Contender(name, "dense", str(path))


#: Reads the head of every file and maps class 2.
MAPS = """
import urllib.request
from pathlib import Path
import numpy as np, rasterio
item = json.load(open(job["items"]))["features"][0]
for asset in item["assets"].values():
    if asset["href"].startswith("http"):
        head = urllib.request.Request(asset["href"], headers={"Range": "bytes=0-99"})
        urllib.request.urlopen(head).read()
place = item["properties"]
size = dict(zip(("height", "width"), place["proj:shape"]))
size |= {"count": 1, "dtype": "uint8", "transform": rasterio.Affine(*place["proj:transform"])}
with rasterio.open(Path(job["out"]) / "map.tif", "w", driver="GTiff", **size) as f:
    f.write(np.full(place["proj:shape"], 2, np.uint8), 1)
print("done")
print(json.dumps({"network_seconds": 0.5}))
"""


def test_a_map_is_timed_counted_and_scored(cache: Path, files: Path, tmp_path: Path):
    import infer
    from inferscene import CUTS, source_labels

    bench = infer.Bench(tiny(), files, {"dense": tmp_path / "run"}, tmp_path)
    run = infer.Run(bench, tmp_path)
    contender = peer(tmp_path, MAPS)
    for case in ("1000Mbit", "files"):
        with bench.opened(infer.CASES[case]):
            run.measure(contender, case, 2)
    value = {(row.case, row.metric): row.value for row in run.figures().rows}
    assert value["1000Mbit", "bytes"] == 8 * 100
    assert ("files", "bytes") not in value
    wanted = (np.digitize(tiny().repeat(source_labels()), CUTS) == 2).mean()
    assert value["files", "score"] == value["1000Mbit", "score"] == pytest.approx(wanted)
    assert value["files", "network_seconds"] == 0.5
    assert value["1000Mbit", "seconds"] > 8 * infer.LATENCY
    assert (value["files", "speed"], value["files", "gain"]) == (1, 0)
    assert list(tmp_path.glob("map-*")) == []


def test_a_contender_that_fails_or_hangs_is_rows_that_say_why(files: Path, tmp_path: Path, monkeypatch):
    import infer

    bench = infer.Bench(tiny(), files, {"dense": tmp_path / "run"}, tmp_path)
    run = infer.Run(bench, tmp_path)
    broken = peer(tmp_path, "raise ValueError('no such thing')")
    run.warm_up(broken, bench)
    run.measure(broken, "20Mbit", 1)
    rows = run.figures().rows
    assert {row.metric for row in rows} == {"seconds", "network_seconds", "bytes", "memory", "score"}
    assert {(row.value, row.note) for row in rows} == {(None, "ended with code 1: ValueError: no such thing")}
    monkeypatch.setattr(infer, "PATIENCE", 0.5)
    run.measure(peer(tmp_path, "import time; time.sleep(60)", "hangs"), "files", 1)
    assert {row.note for row in run.figures().rows if row.contender == "hangs"} == {"no map within 0 s"}


def test_scenes_share_no_pixel_and_are_real_pixels_and_noise(files: Path):
    from infer import LEARNING, QUICK, SCENE
    from inferscene import NOISE, TEST, TRAIN, source_pixels

    assert TRAIN[1] + 4 <= TEST[0]
    assert LEARNING.columns == TRAIN
    for scene in (SCENE, QUICK):
        assert scene.columns == TEST
    assert min(SCENE.shape) >= 5000
    assert len(SCENE.files) == 3 * 8
    for number in (0, 13):
        source = source_pixels()[number].astype(int)
        with rasterio.open(files / tiny().files[number]) as file:
            stored = file.read(1).astype(int)
        part = source[:, slice(*TEST)]
        assert abs(stored[:100, :36] - part).max() == NOISE
        assert abs(stored[:100, 36:72] - part[:, ::-1]).max() == NOISE
        assert abs(stored[100:200, :36] - part[::-1]).max() == NOISE
        assert (stored != 0).all()
        assert (stored[:100, :36] != stored[:100, 36:72][:, ::-1]).any()  # noise is not repeated


def test_items_lie_where_their_files_do(files: Path):
    scene = tiny()
    collection = scene.items(lambda name: str(files / name))
    assert [item["properties"]["datetime"][:10] for item in collection["features"]] == sorted(
        {name[:10] for name in scene.files}
    )
    for item in collection["features"]:
        for asset in item["assets"].values():
            with rasterio.open(asset["href"]) as file:
                assert list(file.shape) == asset["proj:shape"]
                assert list(file.transform)[:6] == asset["proj:transform"]
                assert file.crs.to_epsg() == asset["proj:epsg"]
                assert (file.dtypes[0], file.nodata) == ("uint16", 0)


def test_noise_makes_a_pixel_take_about_what_a_real_one_takes(files: Path):
    from inferscene import bytes_per_pixel

    source, scene = bytes_per_pixel(tiny(), files)
    assert 0.75 < scene / source < 1.1


def test_a_map_may_be_tiles_that_items_name(tmp_path: Path):
    from infermap import Truth
    from inferscene import CUTS, source_labels

    scene = tiny()
    classes = np.digitize(scene.repeat(source_labels()), CUTS).astype(np.uint8)
    (tmp_path / "tiles").mkdir()
    (tmp_path / "collection.json").write_text(json.dumps({"type": "Collection"}))
    for row in (-50, 150):
        tile = np.full((200, 320), 255, np.uint8)
        inside = classes[max(0, row) : row + 200]
        tile[max(0, -row) :][: len(inside), :300] = inside
        place = {"transform": scene.transform @ rasterio.Affine.translation(0, row), "height": 200, "width": 320}
        with rasterio.open(
            tmp_path / "tiles" / f"{row}.tif", "w", driver="GTiff", count=1, dtype="uint8", **place
        ) as file:
            file.write(tile, 1)
        item = {"type": "Feature", "assets": {"map": {"href": f"./{row}.tif"}}}
        (tmp_path / "tiles" / f"{row}.json").write_text(json.dumps(item))
    assert Truth(scene).score(tmp_path) == 1
    (tmp_path / "tiles" / "150.json").unlink()
    assert Truth(scene).score(tmp_path) == pytest.approx(0.5)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]):
    import infer

    with pytest.raises(SystemExit):
        infer.main(["--only", "geomask,10Mbit"])
    assert "no contender or case 10Mbit; there are geomask, geomask dense" in capsys.readouterr().err


def test_contenders_run_what_they_say(tmp_path: Path):
    from inferpeers import CONTENDERS

    runs, items = {name: tmp_path / name for name in ("dense", "learned")}, tmp_path / "items.json"
    ours = {one.name: one for one in CONTENDERS if not one.requirements}
    for name, run in {"geomask": "learned", "geomask dense": "dense"}.items():
        wanted = ["infer", str(runs[run]), str(items), "--out", str(tmp_path / "out")]
        assert ours[name].command(tmp_path, runs, items, tmp_path / "out")[1:] == wanted
    for name, run in {"odc-stac dense": "dense", "odc-stac selected": "learned"}.items():
        python, *_, script, job = ours[name].command(tmp_path, runs, items, tmp_path / "out")
        assert python == sys.executable
        assert Path(script).is_file()
        assert json.loads(Path(job).read_text())["network"] == str(runs[run])
