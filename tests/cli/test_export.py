"""`geomask export`, reached as users reach it: what it prints, what it leaves, how it fails."""

import json
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from runs import CLASSES, write_run

from geomask.train.run import load_run

(ENTRY,) = entry_points(group="console_scripts", name="geomask")


def export(*args: object) -> Result:
    return CliRunner().invoke(ENTRY.load(), ["export", *map(str, args)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "some runs", channels=(0, 5, 9))


def test_what_was_written_is_printed_and_says_what_the_network_says(folder: Path, tmp_path: Path) -> None:
    result = export(folder, "-o", tmp_path / "to send")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    path = tmp_path / "to send" / "network.onnx"
    assert json.loads(result.stdout) == {"network": {"path": str(path), "nbytes": path.stat().st_size}}
    assert [file.name for file in path.parent.iterdir()] == ["network.onnx"]

    run = load_run(folder)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["geomask.channels"]) == run.selection.names
    assert len(json.loads(said["geomask.classes"])) == CLASSES
    assert said["geomask.scaling"] == "null"
    rng = np.random.default_rng(0)
    for size in ((1, 40, 41), (3, 7, 5)):
        image = rng.standard_normal((size[0], 3, *size[1:]), np.float32)
        valid = rng.random(image.shape) > 0.2
        (found,) = session.run(None, {"image": image, "valid": valid})
        with torch.inference_mode():
            want = run.model(torch.from_numpy(image), torch.from_numpy(valid)).numpy()
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * max(1.0, abs(want).max()))


def test_a_network_of_ones_own_has_to_be_named(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    document["settings"]["network"] = "nets_of_mine:make"
    (folder / "run.json").write_text(json.dumps(document))
    result = export(folder, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: the network of this run is your own code, nets_of_mine:make")
    result = export(folder, "-o", tmp_path / "out", "--network", "nets_of_mine:gone")
    assert result.exit_code == 1
    assert "nets_of_mine" in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_is_said_in_one_line(tmp_path: Path) -> None:
    result = export(tmp_path, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert f"{tmp_path} is no finished run" in result.stderr
    assert export(tmp_path).exit_code == 2
