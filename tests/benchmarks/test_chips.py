import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chips")


def tiny_scene():
    """3 dates x 4 bands of 700 x 700 pixels in GeoTIFF tiles of 128."""
    from scene import Scene

    return Scene(side=700, tile=128, bands=4)


def tiny_catalogue():
    """400 items at 4 places."""
    from catalogue import Catalogue

    return Catalogue(count=400, across=2, side=700)


def test_a_quick_run_has_every_figure_of_every_case(cache: Path, capsys: pytest.CaptureFixture[str]):
    import chips
    from table import Figures

    arguments = ["--quick", "--only", "geomask,geomask from a file", "--json", str(cache / "chips.json")]
    chips.main(arguments, tiny_scene(), tiny_catalogue(), cache)
    figures = Figures.load(cache / "chips.json")
    assert [row.note for row in figures.rows if row.value is None] == []
    assert figures.cases == list(chips.CASES)
    value = {(row.case, row.metric): row.value for row in figures.rows if row.contender == "geomask"}
    assert {exact for (_, metric), exact in value.items() if metric == "exact"} == {1.0}
    for case in chips.CASES[:4]:
        assert value[case, "chips_per_second"] > 0
    for case in chips.CASES:
        assert value[case, "seconds"] > 0
        assert ((case, "memory") in value) == Path("/proc").exists()
    assert value["http", "bytes"] > 1e5
    assert value["files", "bytes"] == 0
    assert "start/1e5" in capsys.readouterr().out
    assert sorted(path.name for path in cache.iterdir() if "-" in path.name) == []


def test_only_takes_contenders_and_cases(capsys: pytest.CaptureFixture[str]):
    import chips
    from trials import StoreTrial

    store = StoreTrial(tiny_scene(), Path(), Path(), 2)
    names = {
        text: [c.name for c in chips._chosen(store, set(text.split(",")))] for text in ("store", "zarr,http", "zarr")
    }
    assert names == {"store": ["geomask", "memmap", "zarr"], "zarr,http": [], "zarr": ["zarr"]}
    with pytest.raises(SystemExit):
        chips.main(["--only", "geomask,gdal"])
    assert "no contender or case gdal; there are geomask, torchgeo" in capsys.readouterr().err


def test_a_contender_that_does_not_start_is_rows_that_say_why(tmp_path: Path):
    import chips
    from contenders import Contender
    from trials import StoreTrial

    run = chips.Run(tmp_path)
    run.measure(Contender("missing", "no_such_file", "numpy"), StoreTrial(tiny_scene(), tmp_path, tmp_path, 2))
    assert [row.metric for row in run.figures().rows] == list(StoreTrial.metrics)
    assert {row.note for row in run.figures().rows} == {
        "ModuleNotFoundError: No module named 'contenders.no_such_file'"
    }


def test_figures_are_medians_within_their_extremes_and_what_is_not_known_has_no_row():
    import chips
    from contenders import Contender
    from trials import StoreTrial

    samples = {"chips_per_second": [3.0, 1.0, 9.0], "exact": [1.0, 0.5], "memory": [float("nan")]}
    rows = chips._rows(Contender("one", "", ""), StoreTrial(tiny_scene(), Path(), Path(), 2), samples)
    assert [(row.metric, row.value, row.n, row.low, row.high) for row in rows] == [
        ("chips_per_second", 3.0, 3, 1.0, 9.0),
        ("exact", 0.75, 2, 0.5, 1.0),
    ]


def test_chips_lie_on_one_lattice_and_cross_tiles_as_often_as_chips_anywhere():
    from chipcases import SIZE, gridded_places, random_places
    from scene import Scene

    scene = Scene()
    places = random_places(scene, 10_000)  # more than there are: all of them
    assert len(places) == len(set(places)) == 85 * 85
    assert set(gridded_places(scene, 32)) < set(places)
    for axis in range(2):
        offsets = np.array([place[axis] for place in places])
        assert offsets.min() >= 0
        assert offsets.max() + SIZE <= scene.side
        crossing = np.mean(offsets // scene.tile != (offsets + SIZE - 1) // scene.tile)
        assert crossing == pytest.approx((SIZE - 1) / scene.tile, abs=0.01)


def test_slices_of_a_job_are_the_windows_of_its_places():
    from chipcases import make_chip_job
    from scene import GSD, LEFT, TOP

    job = make_chip_job(tiny_scene(), [(10, 20)], ["href"] * 9)
    (x, y), size = job.slices()[0], 64 * GSD
    assert (x.start, x.stop) == (LEFT + 200, LEFT + 200 + size)
    assert (y.start, y.stop) == (TOP - 100 - size, TOP - 100)
    assert job.chip_shape == (3, 3, 64, 64)


def test_chips_of_another_number_or_shape_are_refused():
    from chipcases import make_chip_job
    from contenders.chips.job import Answer

    job = make_chip_job(tiny_scene(), [(0, 0), (64, 0)], ["href"] * 9)
    chips = np.arange(2 * 9 * 64 * 64).reshape(2, 3, 3, 64, 64) % 65_521
    told = job.told(Answer(0.5, [chips[:1].astype(np.float32), chips[1:].astype(np.uint16)]))
    assert told["opened"] == 0.5
    assert told["digests"] == job.told(Answer(0.0, [chips]))["digests"]
    assert told["digests"][0] != told["digests"][1]
    with pytest.raises(ValueError, match="1 chips came, not 2"):
        job.told(Answer(0.0, [chips[:1]]))
    with pytest.raises(ValueError, match="a chip has the shape"):
        job.told(Answer(0.0, [chips[..., 1:]]))


def test_a_catalogue_has_a_file_for_every_asset_of_every_item(tmp_path: Path):
    import rasterio
    from catalogue import Catalogue

    catalogue = Catalogue(count=10, across=2, side=600)
    assert list(catalogue.publish(tmp_path)) == list(catalogue.publish(tmp_path)) == [0, 1, 2, 3]
    job = catalogue.job(7, "", tmp_path)
    items = job.items()
    assert len({item["id"] for item in items}) == 7
    assert [item["properties"]["datetime"] for item in items] == [f"{date:%Y-%m-%dT%H:%M:%SZ}" for date in job.dates]
    for item in items:
        for asset in item["assets"].values():
            with rasterio.open(tmp_path / asset["href"]) as file:
                assert [*file.transform[:6]] == item["properties"]["proj:transform"]
                assert [file.height, file.width] == item["properties"]["proj:shape"]
    union = np.array([rasterio.open(tmp_path / path).bounds for path in job.paths("B02")])
    assert (*union[:, :2].min(0), *union[:, 2:].max(0)) == job.bounds


@pytest.mark.skipif(not Path("/proc").exists(), reason="memory is read from /proc")
def test_memory_is_that_of_the_whole_tree():
    from memory import Peak

    child = "import sys; held = b'1' * 200_000_000; print('ready', flush=True); sys.stdin.readline()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with Peak(process.pid) as peak:
            pass
        process.communicate("\n")
    with Peak(os.getpid()) as own:
        pass
    assert 200e6 < (peak.nbytes or 0) < 300e6
    assert own.nbytes


def test_items_of_a_start_job_are_stac_and_its_paths_follow_them():
    import pystac

    job = tiny_catalogue().job(10, "http://127.0.0.1:1/", Path("/tmp"))
    items = [pystac.Item.from_dict(item) for item in asdict(job) and job.items()]
    assert [item.assets["B02"].href for item in items] == [job.root + path for path in job.paths("B02")]
