"""benchmarks/bottleneck.py on a scene of four bands that all say the class, and its figures by hand."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


class Small:
    """Two convolutions, 8 wide."""

    def __call__(self, channels: int, outputs: int):
        from torch import nn

        return nn.Sequential(nn.Conv2d(channels, 8, 1), nn.ReLU(), nn.Conv2d(8, outputs, 1))


def load_script() -> ModuleType:
    """The benchmark under another name: under its own it is none, see below."""
    spec = importlib.util.spec_from_file_location("bottleneck_benchmark", ROOT / "benchmarks" / "bottleneck.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make_feature_set(coarse: bool = False):
    from featuredata import FeatureSet
    from maskdata import MaskSet

    from geomask.chips.memory import Chips
    from geomask.chips.split import make_splits
    from geomask.train.settings import Settings
    from geomask.window import Window

    rng = np.random.default_rng(0)
    truth = rng.random((12, 12)).repeat(4, 0).repeat(4, 1)
    scene = (1000 * truth * np.arange(1, 5)[:, None, None] + rng.integers(0, 50, (4, 48, 48))).astype(np.uint16)
    if coarse:
        scene[3] = scene[3, ::2, ::2].repeat(2, 0).repeat(2, 1)
    windows = tuple(Window(row, col, 8, 8) for row in range(0, 48, 8) for col in range(0, 48, 8))
    cut = [(slice(w.row_off, w.row_stop), slice(w.col_off, w.col_stop)) for w in windows]
    image = np.stack([scene[:, *at] for at in cut]).astype(np.float32)
    labels = np.stack([(truth[at] > 0.5).astype(np.int64) for at in cut])
    chips = Chips(image, np.ones(image.shape, bool), labels, windows, 2)
    of = MaskSet("nrt", chips, make_splits(36, 3), np.ones((1, 4)), False, Settings(steps=20, check_every=5), Small())
    return FeatureSet(of, scene, np.array([False, False, False, coarse]))


def make_plan():
    from featurebouts import Plan

    from geomask.bottleneck.distil import Lesson

    return Plan((5,), (5,), (0.01, 0.1), Lesson(steps=20, settling=5, tuning=5, batch=None), 4)


def test_nobody_imports_it_as_the_package_of_its_name():
    # pandas asks for that package; what it finds in a script's folder must not be taken for it
    script = "import sys; sys.path.insert(0, 'benchmarks'); import pandas; assert 'bottleneck' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_a_run_has_a_row_for_every_contender_in_every_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from concurrent.futures import ThreadPoolExecutor

    import featurebouts
    from featurebouts import CONTENDERS
    from table import Figures

    monkeypatch.setattr(featurebouts, "SIDE", 48)  # it is timed on
    out = tmp_path / "figures.json"
    script = load_script()
    # processes could not find a network of this module
    monkeypatch.setattr(script, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    script.main(["--only", "nrt", "--splits", "2", "--json", str(out)], tmp_path, [make_feature_set()], make_plan())
    figures = Figures.load(out)
    assert {row.case for row in figures.rows} >= {"nrt/equal_score", "nrt/rate=1", "nrt/rate=2048"}
    for case in figures.cases:
        assert {row.contender for row in figures.rows if row.case == case} == set(CONTENDERS)
    found = {(row.contender, row.metric): row for row in figures.rows if row.case == "nrt/equal_score"}
    for contender in ("bottleneck", "selection", "pca"):
        assert found[contender, "bits_per_pixel"].value > 0
        assert 0 <= found[contender, "score"].value <= 1
        assert found[contender, "score"].n == 2
    assert found["bottleneck", "encode_ms_per_megapixel"].value > 0
    assert found["dense", "bits_per_pixel"].value == found["deflate", "bits_per_pixel"].value
    assert "bottleneck takes" in capsys.readouterr().out
    json.loads(out.read_text())


def test_what_fails_is_a_point_that_says_why(monkeypatch: pytest.MonkeyPatch):
    import featurebouts

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no bottleneck today")

    monkeypatch.setattr(featurebouts, "make_rates", fail)
    (point,) = featurebouts.Bout(make_feature_set(), 0, make_plan()).measure("bottleneck")
    assert point.note == "RuntimeError: no bottleneck today"


def test_coarse_bands_are_sent_coarse():
    from featurebouts import Bout
    from imagecodes import CODES

    fine, coarse = make_feature_set(), make_feature_set(coarse=True)
    codes = {code.name: code for code in CODES}
    for name in ("deflate", "pca"):
        nbytes, came = Bout(coarse, 0, make_plan())._through(
            codes[name], coarse.trained_on(coarse.of.splits[0]), codes[name].rates[-1]
        )
        assert came.shape == coarse.scene.shape
        assert np.abs(came - coarse.scene).mean() < (1 if name == "deflate" else 30)
        all_fine, _ = Bout(fine, 0, make_plan())._through(
            codes[name], fine.trained_on(fine.of.splits[0]), codes[name].rates[-1]
        )
        assert nbytes < all_fine


def points_of(contender: str, *settings: tuple[str, float, float, float]):
    """Two splits alike, by (setting, bits, validation, test)."""
    from featurebouts import Point

    return [
        Point(contender, name, fold, bits, validation, test)
        for name, bits, validation, test in settings
        for fold in (0, 1)
    ]


def rows_of(points, contenders):
    from featurefigures import make_rows

    return {(row.contender, row.case, row.metric): row for row in make_rows("nrt", points, contenders)}


def test_settings_are_chosen_on_validation_alone():
    points = points_of("selection", ("5%", 100.0, 0.7, 0.6), ("20%", 400.0, 0.9, 0.9))
    # the finest is best on test, and takes more than it needs on validation
    points += points_of("bottleneck", ("coarse", 1.0, 0.6, 0.99), ("right", 10.0, 0.7, 0.5), ("fine", 50.0, 0.8, 0.99))
    points += points_of("jpeg", ("all", 3.0, 0.4, 0.9), ("more", 30.0, 0.5, 0.2))
    rows = rows_of(points, ["selection", "bottleneck", "jpeg", "webp"])
    equal = "nrt/equal_score"
    assert rows["selection", equal, "bits_per_pixel"].value == 100
    assert rows["bottleneck", equal, "bits_per_pixel"].value == 10
    assert rows["bottleneck", equal, "bytes_of_selection"].value == pytest.approx(0.1)
    assert rows["bottleneck", equal, "gain_over_selection"].value == pytest.approx(-0.1)
    assert rows["jpeg", equal, "bits_per_pixel"].value == 30  # gets nowhere near, and does best there
    assert rows["webp", equal, "score"].note == "was not measured"
    assert rows["bottleneck", "nrt/rate=1", "score"].value == pytest.approx(0.99)
    assert rows["bottleneck", "nrt/rate=16", "score"].value == pytest.approx(0.5)
    assert rows["bottleneck", "nrt/rate=64", "score"].value == pytest.approx(0.99)
    assert rows["selection", "nrt/rate=64", "score"].note.startswith("no setting: 100 bits a pixel at the least")


def test_the_summary_says_whether_a_fifth_was_enough():
    from featurefigures import make_rows, summarise

    points = points_of("selection", ("5%", 100.0, 0.7, 0.6)) + points_of("bottleneck", ("a", 25.0, 0.7, 0.65))
    said = summarise(make_rows("nrt", points, ["selection", "bottleneck"]))
    assert "takes 25.0% of the bytes of selection at 5%, and does +5.0 points" in said
    assert "20% at most: no" in said


def test_links_are_compared_by_seconds():
    from featurefigures import summarise
    from featurelink import _compared
    from table import Row

    rows = [
        Row(name, "link/10Mbit", "seconds", value, "s", 1)
        for name, value in (("dense", 90.0), ("selection", 15.0), ("bottleneck", 10.0))
    ]
    assert {row.contender: row.value for row in _compared("link/10Mbit", rows)} == {
        "dense": 1.0,
        "selection": 6.0,
        "bottleneck": 9.0,
    }
    assert "bottleneck 10.0 s; dense 90.0 s, selection 15.0 s; faster than what reads: yes" in summarise(rows)
