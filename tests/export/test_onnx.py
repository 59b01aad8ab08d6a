import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from runs import write_run
from safetensors.numpy import load_file, save_file
from torch import nn
from transfers import CLASSES, write_transfer

from geomask.bottleneck.container import Container
from geomask.bottleneck.run import open_run
from geomask.bottleneck.transfer import (
    Transfer,
    encoder_digest,
    far_model,
    near_model,
    seen_cells,
    spread_cells,
    transfer_of,
)
from geomask.errors import RunError
from geomask.export import onnx as module
from geomask.export.onnx import export_onnx
from geomask.export.tables import load_tables
from geomask.train.run import Run, load_run

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
KINDS: dict[str, dict[str, Any]] = {
    "halved": {"near": (3, 0, 2), "halvings": 1},
    "hybrid": {"near": (0, 2), "far": (3, 1)},
}


class Exported(NamedTuple):
    run: Run
    link: Transfer
    files: dict[str, Path]


@pytest.fixture(scope="module", params=KINDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp(f"a {request.param} run")
    run = open_run(write_transfer(folder / "run", **KINDS[request.param]))
    link = transfer_of(run.model)
    assert link is not None
    return Exported(run, link, export_onnx(run, folder / "model"))


def ask(path: Path, **given: np.ndarray) -> np.ndarray:
    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, given)
    return np.asarray(found)


def shown(run: Run, *size: int) -> tuple[np.ndarray, np.ndarray]:
    rng, (cuts, rows, columns) = np.random.default_rng(0), size
    shape = (cuts, len(run.selection.channels), rows, columns)
    valid = rng.random(shape) > 0.2
    valid[..., : rows // 2, : columns // 3] = False
    image = 3e4 + 1e4 * rng.standard_normal(shape, np.float32)
    return np.where(valid, image, np.float32(0)).astype(np.float32), valid


def said_of(path: Path) -> dict[str, Any]:
    said = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert all(key.startswith("geomask.") for key in said)
    texts = ("version", "selection", "model", "tables")
    return {
        key.removeprefix("geomask."): value if key.removeprefix("geomask.") in texts else json.loads(value)
        for key, value in said.items()
    }


# --- from one end to the other ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(2, 97, 161), (1, 64, 64), (5, 33, 40), (3, 7, 128), (1, 1, 1)])
def test_what_is_encoded_sent_and_decoded_is_the_map_of_the_whole_network(
    size: tuple[int, int, int], exported: Exported
) -> None:
    """Beside ONNX Runtime nothing but the codec is used at either end."""
    run, link, files = exported
    image, valid = shown(run, *size)
    near, far, stride = link.near.numpy(), link.far.numpy(), link.stride
    tables = load_tables(files["tables"])
    model = said_of(files["encoder"])["model"]

    symbols = ask(files["encoder"], image=image[:, near], valid=valid[:, near])
    seen = seen_cells(torch.from_numpy(valid[:, near].any(1, keepdims=True)), stride).numpy()[:, 0]
    sent = [
        Container(one.astype(np.int32), there, model, stride).encode(tables)
        for one, there in zip(symbols, seen, strict=True)
    ]

    assert said_of(files["decoder"])["model"] == model
    received = [Container.decode(data, tables, model) for data in sent]
    latents = np.stack([one.latents for one in received]).astype(np.float32)
    there = np.stack([one.seen for one in received])[:, None]
    planes, known = (
        spread_cells(torch.from_numpy(values), stride, size[1:]).numpy()
        for values in (latents, np.broadcast_to(there, latents.shape).copy())
    )
    outputs = ask(
        files["decoder"],
        planes=np.concatenate([image[:, far], planes], 1),
        valid=np.concatenate([valid[:, far], known], 1),
    )

    with torch.inference_mode():
        want = run.model(torch.from_numpy(image), torch.from_numpy(valid)).numpy()
    assert outputs.shape == want.shape == (size[0], len(CLASSES), *size[1:])
    # a latent that lies halfway between two symbols may be rounded to either
    assert (outputs.argmax(1) == want.argmax(1)).mean() > 0.999
    assert np.isclose(outputs, want, rtol=0, atol=1e-4 * abs(want).max()).mean() > 0.999


@pytest.mark.parametrize("exported", ["halved"], indirect=True)
def test_the_example_of_the_page_runs_as_written(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    run, link, files = exported
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(files["encoder"].parents[1])
    image, valid = shown(run, 1, 33, 40)
    with torch.inference_mode():
        want = run.model(torch.from_numpy(image), torch.from_numpy(valid)).argmax(1).numpy()
    names: dict[str, Any] = {"image": image[:, link.near.numpy()], "valid": valid[:, link.near.numpy()]}
    exec(block, names)
    assert (names["classes"] == want).mean() > 0.999


def test_who_receives_needs_no_torch() -> None:
    program = "import sys, geomask.bottleneck.container, geomask.export.tables; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_each_side_says_what_it_says_in_torch(exported: Exported) -> None:
    run, link, files = exported
    image, valid = shown(run, 2, 31, 50)
    near = near_model(run.model)
    with torch.inference_mode():
        want = near(*(torch.from_numpy(values[:, link.near.numpy()]) for values in (image, valid))).numpy()
    symbols = ask(files["encoder"], image=image[:, link.near.numpy()], valid=valid[:, link.near.numpy()])
    assert symbols.dtype == np.float32
    assert (symbols == want).mean() > 0.999
    assert abs(symbols - want).max() <= 1

    far = far_model(run.model)
    planes, known = drawn(far, (2, 31, 50))
    with torch.inference_mode():
        outputs = far(torch.from_numpy(planes), torch.from_numpy(known)).numpy()
    np.testing.assert_allclose(
        ask(files["decoder"], planes=planes, valid=known), outputs, rtol=0, atol=1e-5 * max(1.0, abs(outputs).max())
    )


def drawn(model: Any, size: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    shape = (size[0], len(model.mean), *size[1:])
    mean, deviation = (values.numpy()[:, None, None] for values in (model.mean, model.deviation))
    return (mean + 3 * deviation * rng.standard_normal(shape)).astype(np.float32), rng.random(shape) > 0.3


# --- what the files say of themselves ---------------------------------------------------------------------------------


def test_files_say_what_they_are_of(exported: Exported) -> None:
    run, link, files = exported
    assert {part: path.name for part, path in files.items()} == {
        "encoder": "encoder.onnx",
        "decoder": "decoder.onnx",
        "tables": "tables.safetensors",
    }
    names, scaling = run.selection.names, run.record.scaling
    assert scaling is not None
    for part, places in (("encoder", link.near.tolist()), ("decoder", link.far.tolist())):
        onnx.checker.check_model(onnx.load(files[part]), full_check=True)
        said = said_of(files[part])
        assert said.pop("objective")["task"] == "segmentation"
        assert said == {
            "version": version("geomask"),
            "selection": run.selection.digest,
            "classes": CLASSES,
            "model": encoder_digest(run.model),
            "tables": link.tables.digest,
            "stride": link.stride,
            "latents": 3,
            "channels": [names[place] for place in places],
            "scaling": [scaling[place] for place in places],
        }


def test_of_several_levels_channels_have_them_in_their_names(exported: Exported) -> None:
    run, names, scaling = exported.run, exported.run.selection.names, exported.run.record.scaling
    assert scaling is not None
    assert module._channels(run, [0, 2], (None, 1)) == {
        "channels": [names[0], names[2], f"{names[0]}@1", f"{names[2]}@1"],
        "scaling": [scaling[0], scaling[2]] * 2,
    }


def test_sizes_have_names_and_no_file_tells_of_this_machine(exported: Exported) -> None:
    _, link, files = exported
    axes: dict[str, list[Any]] = {}
    for part in ("encoder", "decoder"):
        graph = onnx.load(files[part]).graph
        for value in (*graph.input, *graph.output):
            sides = value.type.tensor_type.shape.dim
            axes[f"{part} {value.name}"] = [side.dim_param or side.dim_value for side in sides]
    near, far, cells = len(link.near), len(link.far), "" if link.stride == 1 else "latent_"
    assert axes == {
        "encoder image": ["cuts", near, "rows", "columns"],
        "encoder valid": ["cuts", near, "rows", "columns"],
        "encoder symbols": ["cuts", 3, f"{cells}rows", f"{cells}columns"],
        "decoder planes": ["cuts", far + 3, "rows", "columns"],
        "decoder valid": ["cuts", far + 3, "rows", "columns"],
        "decoder outputs": ["cuts", 3, "rows", "columns"],
    }
    here = str(Path(__file__).parents[2]).encode()
    for path in files.values():
        assert here not in path.read_bytes()
        assert b".py" not in path.read_bytes()


def test_tables_are_read_back_equal_and_others_are_refused(exported: Exported, tmp_path: Path) -> None:
    _, link, files = exported
    assert load_tables(files["tables"]).digest == link.tables.digest
    parts = load_file(files["tables"])
    assert {name: part.dtype.str for name, part in parts.items()} == dict.fromkeys(("lows", "counts", "cuts"), "<i4")
    path = tmp_path / "tables.safetensors"
    for change, words in (
        ({"counts": parts["counts"] + 1}, "adds up to"),
        ({"counts": parts["counts"].astype(np.int64)}, "each is int32"),
        ({"counts": parts["counts"][0]}, "do not go together"),
        ({"lows": parts["lows"][:2]}, "do not go together"),
    ):
        save_file({**parts, **change}, path)
        with pytest.raises(RunError, match=f"tables.safetensors holds no tables: .*{words}"):
            load_tables(path)
    save_file({"lows": parts["lows"]}, path)
    with pytest.raises(RunError, match="holds no tables: 'counts'"):
        load_tables(path)
    for data in (b"", b"x" * 100, files["tables"].read_bytes()[:-1]):
        path.write_bytes(data)
        with pytest.raises(RunError, match="holds no tables"):
            load_tables(path)
    with pytest.raises(RunError, match="holds no tables"):
        load_tables(tmp_path / "gone")


# --- what does not work -----------------------------------------------------------------------------------------------


def test_an_encoder_that_says_other_symbols_is_refused(exported: Exported) -> None:
    near = near_model(exported.run.model)
    judge = module._rounding(near)
    image, valid = drawn(near, (1, 9, 12))
    with torch.inference_mode():
        right = near(torch.from_numpy(image), torch.from_numpy(valid)).numpy()
    assert judge(right, image, valid)
    assert not judge(right + 1, image, valid)
    assert not judge(right + np.float32(0.25), image, valid)
    assert not judge(right[..., :-1], image, valid)


class Deciding(nn.Module):
    """Asks the pixels which way to go, which no export follows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        said: torch.Tensor = self.layer(image)
        return said if image.mean() > 0 else -said


@pytest.fixture
def plain(tmp_path: Path) -> Run:
    return load_run(write_run(tmp_path / "runs", channels=(0, 5, 9)))


def test_what_cannot_be_exported_leaves_nothing(plain: Run, tmp_path: Path) -> None:
    plain.model.network = Deciding().eval()
    with pytest.raises(RunError, match="cannot be exported to ONNX Runtime"):
        export_onnx(plain, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_says_something_else_than_the_network_leaves_nothing(
    plain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = onnx.helper.make_graph([], "empty", [], [onnx.ValueInfoProto()])
    monkeypatch.setattr(module, "make_graph", lambda model, names: onnx.helper.make_model(empty))
    monkeypatch.setattr(module, "_name_axes", lambda value, axes: None)
    monkeypatch.setattr(module, "open_graph", lambda graph: lambda image, valid: np.zeros((1, 3), np.float32))
    with pytest.raises(RunError, match="says something else than it"):
        export_onnx(plain, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
def test_without_the_extra_the_error_says_what_to_install(
    missing: str, plain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(RunError, match=rf"{missing}.*; install geomask\[onnx\]"):
        export_onnx(plain, tmp_path / "out")
    assert not (tmp_path / "out").exists()
