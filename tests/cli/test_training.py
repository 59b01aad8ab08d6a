"""What ``geomask train`` is told about the training: tasks, networks, and going on after an interruption."""

import json
import shutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner, Result
from items import write_items
from rasterio.transform import from_origin

from geomask.stac.search import save_items
from geomask.train.baselines import METHODS
from geomask.train.journal import Journal
from geomask.train.run import load_run

(ENTRY,) = entry_points(group="console_scripts", name="geomask")
USAGE, FAILURE = 2, 1


def call(*args: object) -> Result:
    return CliRunner().invoke(ENTRY.load(), [*map(str, args)])


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items, classes, and values: half of what B04 of the first date holds, some of them unknown."""
    place = tmp_path_factory.mktemp("some inputs")
    items = write_items(place / "files", dates=2, bands=("B04", "B08"))
    save_items(items, place / "items.json")
    frame = {"driver": "GTiff", "height": 100, "width": 90, "count": 1, "crs": "EPSG:32633"}
    frame["transform"] = from_origin(500_000, 5_000_000, 10, 10)
    with rasterio.open(items[0].assets["B04"].href) as file:
        values = file.read(1).astype("float32") / 2
    values[:5] = np.nan
    with rasterio.open(place / "values.tif", "w", dtype="float32", **frame) as file:
        file.write(values, 1)
    with rasterio.open(place / "classes.tif", "w", dtype="uint8", **frame) as file:
        file.write(np.where(np.indices((100, 90))[1] > 55, 9, np.indices((100, 90)).sum(0) // 40 % 3), 1)
    return place


def train(folder: Path, labels: str, out: Path, *options: object) -> Result:
    return call("train", folder / "items.json", "--labels", folder / labels, "--bands", "B04,B08", "-o", out, *options)


def test_a_regression_from_a_raster_of_values_to_a_map_of_values(folder: Path, tmp_path: Path) -> None:
    options = ("--task", "regression", "--method", "dense", "--steps", 60)
    result = train(folder, "values.tif", tmp_path / "run", *options)
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["classes"] == []
    assert said["scores"]["test"] > 0.5
    run = load_run(tmp_path / "run")
    assert run.model.objective.task == "regression"
    mapped = call("infer", tmp_path / "run", folder / "items.json", "-o", tmp_path / "map")
    assert mapped.exit_code == 0, mapped.stderr
    item = json.loads((tmp_path / "map" / "tiles" / "r00000_c00000.json").read_text())
    with rasterio.open(tmp_path / "map" / "map.vrt") as file, rasterio.open(folder / "values.tif") as truth:
        assert (file.dtypes[0], np.isnan(file.nodata)) == ("float32", True)
        said_values, values = file.read(1), truth.read(1)
    assert item["assets"]["map"]["data_type"] == "float32"
    there = np.isfinite(values) & np.isfinite(said_values)
    assert np.corrcoef(said_values[there], values[there])[0, 1] > 0.7


def test_a_class_that_is_left_out_and_weights_of_the_others(folder: Path, tmp_path: Path) -> None:
    options = ("--ignore-index", 9, "--class-weights", "balanced", "--method", "dense", "--steps", 2)
    result = train(folder, "classes.tif", tmp_path / "run", *options)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["classes"] == ["class 0", "class 1", "class 2"]
    objective = load_run(tmp_path / "run").model.objective
    assert objective.outputs == 3
    assert objective.weights is not None
    assert len(set(objective.weights)) == 3


def test_a_run_that_was_interrupted_is_resumed_to_the_bit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--budget", "60%", "--steps", 30, "--batch", 6, "--checkpoint-every", 4)
    assert train(folder, "classes.tif", tmp_path / "whole", *options).exit_code == 0
    steps = iter(range(10**6))

    def cut(self: Journal) -> None:
        if next(steps) == 17:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "__call__", cut)
        assert train(folder, "classes.tif", tmp_path / "cut", *options).exit_code == 130
    assert not (tmp_path / "cut" / "run.json").exists()
    shutil.copytree(tmp_path / "cut", tmp_path / "other")
    result = train(folder, "classes.tif", tmp_path / "cut", *options, "--resume")
    assert result.exit_code == 0, result.stderr
    for name in ("run.json", "selection.json", "model.safetensors", "metrics.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    other = train(folder, "classes.tif", tmp_path / "other", *options, "--resume", "--seed", 1)
    assert other.exit_code == FAILURE
    assert "is of another training" in other.stderr


def test_a_choice_for_a_network_that_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    assert train(folder, "classes.tif", tmp_path / "dense", "--method", "dense", "--steps", 20).exit_code == 0
    options = ("--method", "priced", "--budget", "60%", "--steps", 20)
    frozen = ("--warm-start", tmp_path / "dense", "--freeze-network")
    result = train(folder, "classes.tif", tmp_path / "run", *options, *frozen)
    assert result.exit_code == 0, result.stderr
    before, after = (load_run(tmp_path / name).model.network.state_dict() for name in ("dense", "run"))
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_network_of_ones_own_is_named_to_map_with_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_plain_net.py").write_text(
        "from torch import nn\ndef make(channels, outputs):\n    return nn.Conv2d(channels, outputs, 3, padding=1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = ("--method", "dense", "--steps", 2, "--network", "my_plain_net:make")
    result = train(folder, "classes.tif", tmp_path / "run", *options)
    assert result.exit_code == 0, result.stderr
    infer = ("infer", tmp_path / "run", folder / "items.json", "-o", tmp_path / "map")
    without = call(*infer)
    assert without.exit_code == FAILURE
    assert "your own code, my_plain_net:make" in without.stderr
    assert call(*infer, "--network", "my_plain_net:make").exit_code == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--task guessing", USAGE, "guessing"),
        ("--network large", USAGE, "no network 'large'"),
        ("--network smp:unet-resnet9999", USAGE, "smp:unet-resnet9999"),
        ("--network nothing_here:make", USAGE, "No module named"),
        ("--batch 0", USAGE, "0 is not in the range"),
        ("--precision half", USAGE, "half"),
        ("--class-weights heavy", USAGE, "'heavy'"),
        ("--class-weights 1,-1", USAGE, "'1,-1'"),
        ("--class-weights 1,2", FAILURE, "2 class weights for 10 classes"),
        ("--task regression --class-weights 1,2", USAGE, "are of classes"),
        ("--task regression --cuts 3", USAGE, "--cuts make classes"),
        ("--freeze-network", USAGE, "--warm-start"),
        ("--warm-start nowhere", FAILURE, "nowhere is no finished run to start from"),
        ("--ignore-index 77", FAILURE, "no class 77"),
        ("--device abacus", FAILURE, "no device 'abacus'"),
        ("--task classification --network timm:resnet9999", USAGE, "timm:resnet9999"),
        ("--network timm:resnet10t", FAILURE, "needs a network of pixels"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_leaves_nothing_behind(
    folder: Path, tmp_path: Path, options: str, code: int, words: str
) -> None:
    result = train(folder, "classes.tif", tmp_path / "run", "--method", "dense", "--steps", 1, *options.split())
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert words in line
    assert not (tmp_path / "run").exists()


def test_every_method_can_be_named_on_the_command_line() -> None:
    group = ENTRY.load()
    (option,) = [param for param in group.get_command(None, "train").params if param.name == "method"]
    assert set(option.type.choices) == set(METHODS)
    assert option.default == "learned"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--transfer", "bottleneck", "--budgets", "10%,20%"), "--transfer bottleneck has one --budget"),
        (("--transfer", "auto", "--levels", "0"), "leave --levels and --grain out"),
        (("--transfer", "auto", "--near", "1s"), "--near 1s needs a --bandwidth"),
        (("--near", "10%"), "--near is of features"),
        (("--encoder", "run"), "--encoder is of features"),
        (("--transfer", "bottleneck", "--encoder", "run", "--near", "10%"), "choose one"),
    ],
)
def test_what_goes_not_with_features_is_said_before_anything_is_read(
    folder: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = train(folder, "classes.tif", tmp_path / "out", *options)
    assert (result.exit_code, result.stdout) == (USAGE, "")
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_features_from_items_to_a_map_and_an_encoder_for_a_second_network(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shared = ("--transfer", "bottleneck", "--budget", "50%", "--steps", 6)
    result = train(folder, "classes.tif", first, *shared, "--method", "uniform", "--near", "100%")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["transfer"] == "bottleneck"
    assert 0 < said["planned_bytes"] < said["dense_bytes"] / 2
    assert train(folder, "classes.tif", second, *shared, "--encoder", first, "--seed", 3).exit_code == 0
    features, out = tmp_path / "features", tmp_path / "map"
    assert call("encode", folder / "items.json", "--run", first, "-o", features).exit_code == 0
    for run in (first, second):  # two networks, one set of features
        assert call("infer", run, "--from-features", features, "-o", out / run.name).exit_code == 0
    gone = train(folder, "classes.tif", tmp_path / "third", *shared, "--encoder", tmp_path / "none")
    assert (gone.exit_code, gone.stderr.count("\n")) == (FAILURE, 1)
