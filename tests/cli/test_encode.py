"""`geomask encode` and `geomask infer --from-features`, as a user runs them."""

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import items as stac
import links
import maps
import numpy as np
import pytest
from click.testing import CliRunner, Result

from geomask.stac.search import load_items, save_items

(ENTRY,) = entry_points(group="console_scripts", name="geomask")
SIZE = (70, 51)


def call(*args: object) -> Result:
    return CliRunner().invoke(ENTRY.load(), [*map(str, args)], catch_exceptions=False)


def told(*args: object) -> Any:
    """What a command prints, as JSON."""
    done = call(*args)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with links.small(monkeypatch):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items, a run of theirs with a link, one without, and features."""
    folder = tmp_path_factory.mktemp("to be encoded") / "a b"
    found = stac.write_items(folder / "files", dates=4, bands=("B02", "B03"), height=SIZE[0], width=SIZE[1], holes=True)
    save_items(found, folder / "items.json")
    save_items(found[:3], folder / "fewer.json")
    links.write_run(folder / "run", found, halvings=1)
    maps.write_run(folder / "plain", found)
    (folder / "words.txt").write_text("in the way")
    told("encode", folder / "items.json", "--run", folder / "run", "-o", folder / "set", "--tile", 32)
    return folder


def test_features_take_the_place_of_the_pixels(folder: Path, tmp_path: Path) -> None:
    encode = ("encode", folder / "items.json", "--run", folder / "run", "-o", tmp_path / "set")
    prices = ("--price-per-gb", 90, "--price-per-1000", 0.4)
    before = told(*encode, "--dry-run", "--bandwidth", "8Mbit", *prices)
    assert not (tmp_path / "set").exists()
    made = told(*encode)
    assert (before["nbytes"], before["requests"], before["tiles"]) == (made["nbytes"], made["requests"], 1)
    assert (made["product"], made["map"], made["features"]) == ("features", str(tmp_path / "set"), None)
    assert told("status", tmp_path / "set", *prices) == {**made, "cost": before["cost"]}
    assert told(*encode) == made

    told("infer", folder / "run", folder / "items.json", "-o", tmp_path / "one")
    infer = ("infer", folder / "run", "--from-features", tmp_path / "set", "-o", tmp_path / "map")
    planned = told(*infer, "--dry-run")
    mapped = told(*infer)
    assert (planned["nbytes"], planned["requests"]) == (mapped["nbytes"], mapped["requests"])
    assert (mapped["product"], mapped["features"]) == ("map", str(tmp_path / "set"))
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "map"), maps.mosaic(tmp_path / "one"))
    assert told(*infer[:2], folder / "items.json", *infer[2:]) == mapped
    assert json.loads((folder / "run" / "receipt.json").read_text())["nbytes"] == mapped["nbytes"]

    manifest = tmp_path / "map" / "tiles" / "r00000_c00000.latents.geomask.parquet"
    assert "is a valid manifest: 3 channels of 1 files, 1 chips: 1 requests" in call(
        "manifest", "validate", manifest
    ).stdout.replace("\n", " ")
    (line,) = call("manifest", "explain", "--json", manifest).stdout.splitlines()
    assert json.loads(line) == {
        "href": str(tmp_path / "set" / "tiles" / "r00000_c00000.gmf"),
        "offset": 0,
        "length": mapped["nbytes"],
        "what": "pixels",
    }
    said = call("read", manifest, "-o", tmp_path / "cube.tif")
    assert said.exit_code == 1
    assert "holds features, no pixels; `geomask infer --from-features` decodes them" in said.stderr


def test_items_of_a_catalog_and_an_area(folder: Path, tmp_path: Path) -> None:
    west, south, east, north = load_items(folder / "items.json")[0].bbox or ()
    box = [west, south, (west + east) / 2, (south + north) / 2]
    encode = ("encode", folder / "items.json", "--run", folder / "run", "--datetime", "2020-01/2020-03")
    assert told(*encode, "--bbox", *box, "-o", tmp_path / "set")["done"] == 1
    told("infer", folder / "run", folder / "items.json", "--bbox", *box, "-o", tmp_path / "one")
    told("infer", folder / "run", "--from-features", tmp_path / "set", "-o", tmp_path / "map")
    np.testing.assert_array_equal(maps.mosaic(tmp_path / "map"), maps.mosaic(tmp_path / "one"))


@pytest.mark.filterwarnings("default:1 tiles of")
def test_what_could_not_be_read_ends_with_one_line_after_the_features(folder: Path, tmp_path: Path) -> None:
    found = load_items(folder / "items.json")
    for item in found:
        item.assets["B02"].href += ".gone"
    save_items(found, tmp_path / "items.json")
    grid = ("--crs", "EPSG:32633", "--res", 10)
    done = call("encode", tmp_path / "items.json", "--run", folder / "run", *grid, "-o", tmp_path / "set")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failed"] == 1
    last = done.stderr.rpartition("\r")[2]
    assert last.startswith("Error: 1 of 1 tiles have pixels that could not be read")
    mapped = call("infer", folder / "run", "--from-features", tmp_path / "set", "-o", tmp_path / "map")
    assert "Warning: 1 tiles of " in mapped.stderr


USAGE, FAILURE = 2, 1
WRONG = [
    ("encode ITEMS -o OUT", USAGE, "Missing option '--run'"),
    ("encode ITEMS --run RUN", USAGE, "Missing option '-o'"),
    ("encode ITEMS --run RUN -o OUT --blend", USAGE, "--blend"),
    ("encode ITEMS --run RUN -o OUT --bbox 1 2 3 4 --aoi {}", USAGE, "--bbox and --aoi are two ways"),
    ("encode ITEMS --run RUN -o OUT --bandwidth 8Mbit", USAGE, "--bandwidth is of a --dry-run"),
    ("encode ITEMS --run RUN -o OUT --tile 31", FAILURE, "choose multiples of 2"),
    ("encode ITEMS --run RUN -o OUT --tile 400000", FAILURE, "make them smaller (--tile)"),
    ("encode gone.json --run RUN -o OUT", FAILURE, "gone.json"),
    ("encode ITEMS --run gone -o OUT", FAILURE, "gone is no finished run"),
    ("encode ITEMS --run PLAIN -o OUT", FAILURE, "this run sends no features; train one with --transfer"),
    ("encode ITEMS --run RUN -o WORDS", FAILURE, "words.txt is a file"),
    ("encode ITEMS --run RUN -o PLAIN", FAILURE, "plain holds something else than features"),
    ("encode FEWER --run RUN -o SET", FAILURE, "other features were begun there: items differ"),
    ("infer RUN ITEMS -o SET", FAILURE, "holds features of `geomask encode`, not a map; name another folder"),
    ("infer RUN -o OUT", USAGE, "Missing argument 'ITEMS|CATALOG'; only --from-features has items of its own"),
    ("infer RUN --from-features SET -o OUT --bbox 1 2 3 4", USAGE, "--bbox was decided where the features were made"),
    ("infer RUN --from-features SET -o OUT --crs EPSG:32633 --res 10", USAGE, "--crs was decided where the"),
    ("infer RUN --from-features SET -o OUT --datetime 2020", USAGE, "--datetime is of a CATALOG; there is none"),
    ("infer RUN FEWER --from-features SET -o OUT", FAILURE, "set has features of other items"),
    ("infer RUN --from-features nowhere -o OUT", FAILURE, "nowhere holds no features, or not all of them yet"),
    ("infer RUN --from-features WORDS -o OUT", FAILURE, "words.txt is a file"),
    ("infer PLAIN --from-features SET -o OUT", FAILURE, "this run sends no features"),
    ("infer RUN --from-features http://127.0.0.1:9/ -o OUT", FAILURE, "features.json: Connection refused"),
    ("infer RUN --from-features http://u:hush@127.0.0.1/ -o OUT", FAILURE, "name a function (--sign)"),
]


@pytest.mark.parametrize(("line", "code", "said"), WRONG)
def test_what_goes_wrong_is_said_in_one_line(folder: Path, tmp_path: Path, line: str, code: int, said: str) -> None:
    places: dict[str, object] = {
        "ITEMS": folder / "items.json",
        "FEWER": folder / "fewer.json",
        "RUN": folder / "run",
        "PLAIN": folder / "plain",
        "SET": folder / "set",
        "WORDS": folder / "words.txt",
        "OUT": tmp_path / "out",
        "{}": '{"type": "Point", "coordinates": [1, 2]}',
    }
    done = call(*(places.get(word, word) for word in line.split()))
    assert done.exit_code == code, done.stderr
    shown = done.stderr.rpartition("\r")[2]
    assert said in shown
    assert "hush" not in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "out").exists()
