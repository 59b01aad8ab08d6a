from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of the real one's names and size: waves and noise."""
    folder = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    waves = np.sin(np.arange(1098) / 40)
    (folder / "cog_S2A_29RKH").mkdir()
    for name in ("B02", "B03", "B04"):
        pixels = (3000 + 300 * waves[:, None] * waves + draw.normal(0, 30, (1098, 1098))).astype(np.uint16)
        place = {"height": 1098, "width": 1098, "transform": rasterio.transform.from_origin(0, 0, 100, 100)}
        path = folder / "cog_S2A_29RKH" / f"{name}.tif"
        with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint16", crs="EPSG:32629", **place) as file:
            file.write(pixels, 1)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("places")


@pytest.fixture
def acquisitions(data: Path, cache: Path):
    from ships import make_acquisitions, open_ground

    return list(make_acquisitions(open_ground(data), 1, cache))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_tiny_run_has_every_figure_of_every_case(data: Path, cache: Path, capsys: pytest.CaptureFixture[str]):
    import places
    from placing import Plan
    from table import Figures

    plan = Plan(dense_epochs=1, select_epochs=1, tune_epochs=1)
    arguments = ["--quick", "--data", str(data), "--json", str(cache / "places.json")]
    places.main(arguments, cache, acquisitions=1, folds=1, plan=plan)
    figures = Figures.load(cache / "places.json")
    assert figures.cases == ["ships/12x12"]
    value = {(row.contender, row.case, row.metric): row.value for row in figures.rows}
    for case in figures.cases:
        for share in ("50%", "25%", "10%"):
            for kind in ("static", "dynamic"):
                assert 0 <= value[f"{kind}/{share}", case, "score"] <= 1
            # what a mask that is the same for all chips takes does not depend on what they show
            static = value[f"static/{share}", case, "share"]
            assert static < float(share.rstrip("%")) / 100 + 0.01
        assert value["dense", case, "share"] == 1
        assert value["static/50%", case, "bytes"] > value["static/10%", case, "bytes"] > 0
    assert {row.n for row in figures.rows if row.value is not None} == {1}
    assert "dynamic for static/50%" in capsys.readouterr().out


def test_a_scene_that_is_not_there_is_a_row_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import places

    places.main(["--only", "static,ships/12x12", "--data", str(tmp_path)], tmp_path)
    shown = capsys.readouterr().out
    assert shown.count(f"cog_S2A_29RKH/B02.tif is not in {tmp_path}") == 4
    assert "dynamic" not in shown
    with pytest.raises(SystemExit):
        places.main(["--only", "gdal"])
    assert "no contender or case gdal; there are dense, static, dynamic, ships/12x12" in capsys.readouterr().err


def test_bytes_of_blocks_and_previews_are_those_of_their_manifests(acquisitions):
    from ships import PREVIEW, PREVIEW_LEVEL, cut

    one = acquisitions[0]
    every = range(25)
    dense = one.plan(one.selection, one.chips).planned_nbytes
    assert one.nbytes(every, np.ones((25, 1, 1, 1), bool), preview=False) == pytest.approx(dense)
    assert one.prices.sum() + 25 * one.overhead[0] == pytest.approx(dense, rel=0.05)  # gaps, and what headers hold
    draw = np.random.default_rng(0)
    for count, groups in ((12, 1), (48, 1), (12, 3)):
        chosen = draw.random((25, groups, count, count)) < 0.1
        blocks = [cut(chip, count) for chip in one.chips]
        total = one.plan(one.selection, one.chips).header_nbytes
        for band in range(3):
            of_band = chosen[:, min(band, groups - 1)].reshape(25, -1)
            windows = [blocks[chip][block] for chip, block in np.argwhere(of_band).tolist()]
            total += one.plan(one.selection.keep([band]), windows).pixel_nbytes
        assert one.nbytes(every, chosen, preview=False) == pytest.approx(total)
        preview = one.plan(PREVIEW.selection(one.selection, PREVIEW_LEVEL), one.chips).pixel_nbytes
        assert one.nbytes(every, chosen, preview=True) == pytest.approx(total + preview)
        parts = [one.nbytes([chip], chosen[[chip]], preview=True) for chip in every]
        assert sum(parts) == pytest.approx(total + preview, rel=2e-3)  # chips share gaps, but no GeoTIFF tile


def test_objects_have_one_area_and_their_brightness_in_the_overview_does_not_tell_them_apart():
    from ships import KINDS, object_cover

    draw = np.random.default_rng(0)
    areas, blobs = {}, {}
    for kind, name in enumerate(KINDS):
        covers = [object_cover(kind, draw.uniform(0, np.pi), draw.uniform(0, 1, 2)) for _ in range(200)]
        areas[name] = np.mean([cover.sum() for cover in covers])
        blobs[name] = np.mean([cover.reshape(4, 4, 4, 4).mean((1, 3)).max() for cover in covers])
    assert areas.pop("none") == blobs.pop("none") == 0
    assert list(areas.values()) == pytest.approx([30] * 3, rel=0.03)
    assert max(blobs.values()) / min(blobs.values()) < 2  # as light may differ between two objects of one kind


def test_splits_share_no_place_and_each_place_is_tested_once(acquisitions):
    from placing import Fold, Plan

    folds = [Fold(acquisitions, number, Plan()) for number in range(5)]
    for fold in folds:
        parts = [set(part.at) for part in (fold.train, fold.validation, fold.test)]
        assert [len(at) for at in parts] == [15, 5, 5]
        assert len(set.union(*parts)) == 25
        rows, columns = np.divmod(sorted(fold.test.at), 5)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == 5
    assert sorted(place for fold in folds for place in fold.test.at) == list(range(25))


def test_the_dynamic_mask_of_fewest_bytes_is_chosen_by_validation_alone():
    from places import compared
    from placing import Outcome

    def outcomes(validation, test, validation_nbytes, nbytes):
        return [Outcome(validation, test, validation_nbytes, nbytes, 1000, 1.0)] * 2

    found = {
        "static/50%": outcomes(0.6, 0.7, 500, 500),
        "dynamic/50%": outcomes(0.9, 0.9, 400, 400),
        "dynamic/25%": outcomes(0.6, 0.65, 200, 250),
        "dynamic/10%": outcomes(0.5, 1.0, 90, 90),
    }
    gain, ratio = compared("case", found, "static/50%")
    assert (gain.value, ratio.value) == (pytest.approx(-0.05), 0.5)
    (none,) = compared("case", {**found, "static/50%": outcomes(0.95, 0.1, 1, 1)}, "static/50%")
    assert none.note


def test_theta_is_settled_so_that_blocks_fit_on_average(acquisitions):
    from functools import partial

    from placing import Fold, Plan, make_scores, settle, spread_prices, touched_nbytes
    from ships import PREVIEW

    from geomask.masks.grain import Grain
    from geomask.masks.priced import PricedGate

    torch.manual_seed(0)
    fold, grain = Fold(acquisitions, 0, Plan()), Grain((0, 0, 0), 12, 12)
    scores = make_scores("dynamic", grain, "conv")
    torch.nn.init.normal_(scores.model.weight)
    gate = PricedGate(grain, spread_prices(fold.prices, grain), 20_000, scores, PREVIEW)
    gate.train()
    gate.draw(fold.train.image)
    frozen = gate.freeze()
    total = partial(touched_nbytes, fold.prices, grain)
    for budget in (20_000, 60_000, 120_000):
        frozen.theta = settle(frozen, PREVIEW(fold.validation.image), total, budget)
        chosen = frozen.draw(fold.validation.image)[0].bool().numpy()
        assert budget - 3 * 500 < np.mean([total(chip) for chip in chosen]) <= budget


def test_blocks_smaller_than_a_tile_pay_for_the_tile():
    from placing import spread_prices, touched_nbytes

    from geomask.masks.grain import Grain

    prices, grain = np.arange(3 * 144.0).reshape(3, 12, 12), Grain((0, 0, 0), 48, 48)
    assert spread_prices(prices, grain).shape == (1, 1, 48, 48)
    assert spread_prices(prices, grain).sum() == pytest.approx(prices.sum())
    chosen = np.zeros((1, 1, 48, 48), bool)
    chosen[0, 0, 4:6, 8:12] = True  # within tile (1, 2)
    assert touched_nbytes(prices, grain, chosen) == prices[:, 1, 2].sum()
    assert touched_nbytes(prices, Grain((0, 1, 2), 12, 12), np.eye(12, dtype=bool)[None, None].repeat(3, 1)) == sum(
        np.trace(band) for band in prices
    )
