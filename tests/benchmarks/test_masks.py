import json
from pathlib import Path

import numpy as np
import pytest


def make_set(name: str = "modis", versions: int = 1):
    """Pixels of eight channels, two of which tell the class; a second version is the first with noise."""
    from maskdata import MaskSet, chips_of, split_cells

    from geomask.train.settings import Settings

    rng = np.random.default_rng(0)
    image = rng.normal(size=(300, 8, 1, 1)).astype(np.float32)
    labels = (image[:, 2] + image[:, 6] > 0).astype(np.int64)
    prices = np.ones((1, 8))
    if versions == 2:
        image = np.stack([image, image + 0.1 * rng.normal(size=image.shape).astype(np.float32)], 1)
        prices = np.array([[100.0, 90] * 4, [25.0, 20] * 4])
    return MaskSet(
        name,
        chips_of(image, labels),
        tuple(split_cells(np.arange(300) // 10)),
        prices,
        is_bytes=versions == 2,
        settings=Settings(steps=40, check_every=5),
        network=Small(),
    )


class Small:
    """A network of two hidden layers, 8 wide."""

    def __call__(self, channels: int, outputs: int):
        from maskdata import make_net

        return make_net(channels, outputs, 8, 0.0, 1, 1)


NAMES = ("dense", "random", "uniform", "forest", "decorrelated", "mrmr", "oehmcke2022", "default", "concrete", "priced")


@pytest.mark.parametrize("versions", [1, 2])
def test_every_contender_stays_within_the_budget_or_says_why_not(versions: int) -> None:
    from masks import measure_split

    of = make_set(versions=versions)
    outcomes = measure_split(of, 0, NAMES, [25.0], None)
    told = {one.contender: one for one in outcomes}
    assert {name.partition("/")[0] for name in told} == set(NAMES)
    assert {"default/joint", "default/retrained", "uniform/retrained"} <= set(told)
    for name, one in told.items():
        if one.score is None:
            assert one.note
            assert name.startswith(("oehmcke2022", "concrete" if versions == 2 else "oehmcke2022"))
        elif name != "dense":
            assert 0 < one.price <= of.budget(25)
    assert told["dense"].score > 0.7
    assert told["default/joint"].score > 0.7


def test_a_failed_contender_is_an_outcome() -> None:
    from masks import measure_split

    told = {one.contender: one.note for one in measure_split(make_set(), 0, ["lassonet"], [25.0], None)}
    assert told["lassonet/retrained"] == "no environment for lassonet"


def test_rows_by_hand() -> None:
    from maskfigures import make_rows
    from maskmethods import Outcome

    outcomes = [Outcome("dense", "modis/100%", fold, 0.9, 8) for fold in (0, 1)]
    outcomes += [Outcome("uniform/retrained", "modis/5%", fold, value, 2) for fold, value in ((0, 0.8), (1, 0.7))]
    outcomes += [Outcome("oehmcke2022/joint", "modis/5%", fold, None, note="never") for fold in (0, 1)]
    rows = make_rows(outcomes, ["modis/5%", "nrt/5%"], {"nrt": "no data"})
    told = {(row.contender, row.case, row.metric): row for row in rows}
    score, gain = (told["uniform/retrained", "modis/5%", metric] for metric in ("score", "gain_over_dense"))
    assert (score.value, score.low, score.high, score.n) == (pytest.approx(0.75), 0.7, 0.8, 2)
    assert gain.value == pytest.approx(-0.15)
    # t of 1 degree of freedom is 12.706; the standard error of -0.1 and -0.2 is 0.05.
    assert gain.low == pytest.approx(-0.15 - 12.706 * 0.05, abs=1e-4)
    assert told["oehmcke2022/joint", "modis/5%", "score"].note == "never (2 of 2 splits)"
    assert told["dense", "nrt/5%", "score"].note == "no data"


def test_the_summary_says_what_holds() -> None:
    from maskfigures import summarise
    from maskmethods import Outcome

    def outcomes(contender: str, *scores: float) -> list[Outcome]:
        case = "modis/100%" if contender == "dense" else "modis/5%"
        return [Outcome(contender, case, fold, score, detail="probe") for fold, score in enumerate(scores)]

    rivals = outcomes("dense", 0.9, 0.8) + outcomes("uniform/retrained", 0.5, 0.5)
    rivals += outcomes("forest/retrained", 0.86, 0.76) + outcomes("oehmcke2022/joint", 0.6)
    text = summarise(rivals + outcomes("default/joint", 0.895, 0.795))
    assert "-0.5 points on average (modis -0.5); -1.0 at least: yes" in text
    assert "+3.5 points (+3.5 to +3.5) against forest" in text
    assert "got there on 1 of 2 splits; better: yes" in text
    assert "probe 2" in text
    assert "-1.0 at least: no" in summarise(rivals + outcomes("default/joint", 0.8, 0.7))


def test_an_absent_set_is_a_row_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import masks

    masks.main(
        [
            "--sets",
            "modis",
            "--budgets",
            "5",
            "--only",
            "uniform",
            "--data",
            str(tmp_path),
            "--json",
            str(tmp_path / "figures.json"),
        ],
        tmp_path,
    )
    assert "no data: modis_mato_grosso.npz" in capsys.readouterr().out
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert [row["case"] for row in rows] == ["modis/5%"]
    assert rows[0]["note"].startswith("no data")


def test_parts_of_a_split_by_place_are_apart() -> None:
    from maskdata import _part, split_cells

    places = np.random.default_rng(0).uniform(0, 1, (400, 2))
    cells = np.floor(places / 0.2).astype(int) @ [10, 1]
    for split in split_cells(cells):
        assert not set(split.train) & set(split.test)
        parts = _part(split, places, 0.02)
        for some, others in (
            (parts.train, parts.test),
            (parts.train, parts.validation),
            (parts.validation, parts.test),
        ):
            distance = np.linalg.norm(places[list(some)][:, None] - places[list(others)][None], axis=2)
            assert distance.min() >= 0.02
        assert parts.test == split.test


def test_a_budget_without_files_is_a_number_of_channels() -> None:
    assert make_set().budget(30) == 2
    assert make_set().budget(1) == 1
    assert make_set(versions=2).budget(50) == 380
