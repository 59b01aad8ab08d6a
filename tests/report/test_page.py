"""The figures and the page: what they show, that it stands alone, and that no name breaks out of it."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import rasterio
import runs
from matplotlib.figure import Figure

from geomask.errors import GeomaskError, RunError, SelectionError
from geomask.report import figures
from geomask.report.outcome import load_outcomes
from geomask.report.page import render_page, svg, write_page
from geomask.report.style import INK, PAPER, plain
from geomask.report.summary import summarise, write_summary
from geomask.selection import Channel, Selection
from geomask.stac.profile import Band
from geomask.stac.search import save_items
from geomask.stac.slots import Slot

HOSTILE = [
    "<script>alert(1)</script>",
    "</svg></figure><img src=x onerror=alert(1)>",
    '" onload="alert(1)',
    "&lt;b&gt; &amp;",
    r"$\frac{1$",
    "\x00\x1b[31m\u202e\ud800 \u84dd",
    "url(http://example.com/x)",
]
#: All that the page and matplotlib's SVG consist of.
TAGS = (
    {"html", "meta", "title", "style", "h1", "h2", "p", "div", "figure", "figcaption", "dl", "dt", "dd", "ul", "li"}
    | {"table", "thead", "tbody", "tr", "th", "td"}
    | {"svg", "g", "defs", "path", "text", "use", "image", "clippath", "rect"}
)


class Reader(HTMLParser):
    """Takes a page apart."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = runs.write_demo(tmp_path_factory.mktemp("demo"), folds=2, seeds=2)
    write_summary(summarise(folder), folder)
    return folder


@pytest.fixture(scope="module")
def page(demo: Path) -> str:
    return write_page(demo).read_text(encoding="utf-8")


def choose(*channels: tuple[int, int]) -> Selection:
    """A selection of these (slot, band)."""
    return Selection(runs.SLOTS, runs.BANDS, tuple(Channel(slot, band) for slot, band in channels))


def texts(figure: Figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    outside = re.sub(r"data:image/png;base64,[\w+/=\s]*", "", page)
    assert not re.search(r"https?:|//[a-z]|@import", outside)
    reader = Reader(page)
    assert set(reader.tags) <= TAGS
    assert reader.values("src") == []
    assert all(value.startswith(("#", "data:image/png;")) for value in reader.values("xlink:href"))
    assert not any(name.startswith("on") for name, _ in reader.attributes)
    assert len(page.encode()) < 1_000_000


def test_every_id_is_there_once_and_every_reference_leads_to_one(page: str) -> None:
    reader = Reader(page)
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    used = {value[1:] for value in reader.values("xlink:href") if value.startswith("#")}
    assert used | set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_the_page_shows_table_figures_origin_and_caveats(demo: Path, page: str) -> None:
    summary, reader = summarise(demo), Reader(page)
    assert reader.tags.count("svg") == 5
    for contender in summary.contenders:
        assert contender in reader.texts
    text = " ".join(reader.texts)
    assert summary.date in text
    assert all(f"{name} {number}" in text for name, number in summary.versions.items())
    assert "\ufffd" not in text
    assert "points (95\xa0% interval \u2212" in text
    assert "optimistic" in text
    assert "16 runs: 2 spatial splits, 2 seeds, a budget of 25% of all channels' bytes" in text


def test_equal_input_gives_an_equal_page(demo: Path, page: str) -> None:
    assert write_page(demo, summarise(demo)).read_text(encoding="utf-8") == page


def test_the_figures_take_the_colours_of_the_page(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert INK not in drawings
    assert PAPER not in drawings
    assert "currentColor" in drawings
    assert "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_out(tmp_path: Path, name: str) -> None:
    bands = (Band(name, "B04", 10, name, 0.6), Band("B08", "B08", 10))
    slots = (Slot(runs.STARTS[0], runs.STARTS[1], name), Slot(runs.STARTS[1], runs.STARTS[2], "spring"))
    record = {"budget": name, "versions": {name: name}, "class_names": [name] * runs.CLASSES}
    runs.write_demo(tmp_path, folds=1, seeds=2, bands=bands, slots=slots, **record)
    page = render_page(tmp_path, summarise(tmp_path, case=name))
    reader = Reader(page)
    assert set(reader.tags) <= TAGS
    assert not any(key.startswith("on") for key, _ in reader.attributes)
    assert reader.values("src") == []
    shown = [text for text in reader.texts if plain(name, 16) in text]
    assert len(shown) >= 4  # on the axes of several figures
    assert not re.search(r"[\x00-\x08\x1b\ud800-\udfff]", page)


def test_item_ids_are_escaped(demo: Path, tmp_path: Path) -> None:
    feature = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": HOSTILE[1],
        "geometry": None,
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": {},
    }
    runs.write_run(tmp_path)
    save_items([feature], tmp_path / "items.json")
    reader = Reader(render_page(tmp_path, summarise(tmp_path)))
    assert f"1, from {HOSTILE[1]} to {HOSTILE[1]}" in "".join(reader.texts)
    assert "img" not in reader.tags


@pytest.mark.parametrize("method", ["learned", "uniform", "dense"])
def test_a_single_run_makes_a_page(tmp_path: Path, method: str) -> None:
    run = runs.write_run(tmp_path, method, channels=[3, 5])
    write_summary(summarise(run), run)
    text = write_page(run).read_text(encoding="utf-8")
    assert f"What the {method} run kept" in text
    assert "Score against bytes</h2>" not in text
    assert "Maps</h2>" not in text
    assert Reader(text).tags.count("svg") == 3


def test_a_page_needs_a_summary(tmp_path: Path) -> None:
    runs.write_run(tmp_path)
    with pytest.raises(RunError, match=r"summary\.json"):
        write_page(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("maps/dense.tif", "no tiff"),
        ("runs/learned-f0-s0/selection.json", "{"),
        ("runs/learned-f0-s0/run.json", "[]"),
        ("items.json", "{"),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_written(tmp_path: Path, path: str, text: str) -> None:
    runs.write_demo(tmp_path, folds=1, seeds=1)
    summary = summarise(tmp_path)
    (tmp_path / path).write_text(text)
    with pytest.raises(GeomaskError, match=path):
        write_page(tmp_path, summary)
    assert not (tmp_path / "report.html").exists()


def test_a_map_that_is_none_is_refused(tmp_path: Path) -> None:
    runs.write_run(tmp_path)
    runs.write_maps(tmp_path / "maps", names=["truth"])
    with rasterio.open(tmp_path / "maps" / "truth.tif") as file:
        profile = file.profile | {"dtype": "float32"}
    with rasterio.open(tmp_path / "maps" / "truth.tif", "w", **profile) as file:
        file.write(np.zeros((1, *file.shape), "float32"))
    with pytest.raises(RunError, match="float32"):
        render_page(tmp_path, summarise(tmp_path))


def test_large_maps_are_thinned(tmp_path: Path) -> None:
    runs.write_run(tmp_path)
    runs.write_maps(tmp_path / "maps", side=2000)
    assert len(render_page(tmp_path, summarise(tmp_path))) < 1_000_000


# --- the figures ------------------------------------------------------------------------------------------------------


def test_kept_share_counts_runs() -> None:
    share = figures.kept_share([choose((0, 1), (2, 3)), choose((0, 1))])
    assert share.shape == (8, 4)
    assert share[0, 1] == 1
    assert share[2, 3] == 0.5
    assert share.sum() == 1.5


@pytest.mark.parametrize("draw", [figures.selection_matrix, figures.kept_by_band, figures.kept_by_time])
def test_selections_that_do_not_fit_together_are_refused(draw: object) -> None:
    assert callable(draw)
    one = choose((0, 0))
    with pytest.raises(SelectionError, match="no selection"):
        draw([])
    with pytest.raises(SelectionError, match="no slots"):
        draw([Selection((), (), ())])
    with pytest.raises(SelectionError, match="differ"):
        draw([one, Selection(one.slots[1:], one.bands, ())])


def test_the_matrix_names_bands_and_slots() -> None:
    shown = texts(figures.selection_matrix([choose((0, 1), (2, 3)), choose((0, 1))]))
    assert "Channels kept: 1 to 2 of 32" in shown
    assert all(label in shown for label in ("B04 red", "B11 swir16", "2019-winter", "2020-autumn", "of 2 runs"))
    assert "Channels kept: 1 of 32" in texts(figures.selection_matrix([choose((0, 1))]))


def test_nothing_kept_can_be_shown() -> None:
    for draw in (figures.selection_matrix, figures.kept_by_band, figures.kept_by_time):
        assert "svg" in svg(draw([choose()]), "empty")


def test_many_slots_are_named_by_their_years() -> None:
    starts = [runs.STARTS[0].replace(year=2000 + month // 12, month=month % 12 + 1) for month in range(61)]
    slots = tuple(Slot(starts[k], starts[k + 1], f"{starts[k]:%Y-%m}") for k in range(60))
    axes = figures.kept_by_time([Selection(slots, runs.BANDS, ())]).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"200{year}-01" for year in range(5)]


def test_the_patterns_show_shares() -> None:
    chosen = [choose((0, 1), (1, 1)), choose((0, 1), (0, 2))]
    widths = [bar.get_width() for bar in figures.kept_by_band(chosen).axes[0].patches]
    assert widths == pytest.approx([0, 100 * 1.5 / 8, 100 * 0.5 / 8, 0])
    heights = [bar.get_height() for bar in figures.kept_by_time(chosen).axes[0].patches]
    assert heights == pytest.approx([100 * 1.5 / 4, 100 * 0.5 / 4, *[0] * 6])


def test_score_against_bytes_has_a_dot_for_each_run(demo: Path) -> None:
    axes = figures.score_against_bytes(load_outcomes(demo)).axes[0]
    dots = sum(len(line.get_xdata()) for line in axes.lines if line.get_alpha() == 0.55)
    assert dots == 16
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.split(",")[0] for label in labels] == ["dense", "learned", "random", "uniform", "majority"]
    assert axes.get_xscale() == "log"


def test_score_against_bytes_needs_a_receipt(tmp_path: Path) -> None:
    runs.write_run(tmp_path)
    with pytest.raises(RunError, match="receipt"):
        figures.score_against_bytes(load_outcomes(tmp_path))


def test_a_single_receipt_can_be_shown(tmp_path: Path) -> None:
    runs.write_run(tmp_path, receipt=runs.make_receipt(12_300, 3))
    shown = texts(figures.score_against_bytes(load_outcomes(tmp_path)))
    assert "learned, 12.3 KB" in shown


def test_maps_have_one_legend() -> None:
    truth = np.array([[0, 1], [2, 255]], "uint8")
    figure = figures.maps({"truth": truth, "dense": np.zeros((2, 2), "uint8")}, ["meadow", "$x$"])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["meadow", "$x$", "class 2", "no data"]
    assert [axes.get_title("left") for axes in figure.axes] == ["truth", "dense"]
    pixels = figure.axes[0].images[0].get_array()
    assert pixels is not None
    assert tuple(pixels[1, 1]) == figures.NODATA_GREY
    assert len(figures.maps({"dense": truth[:1]}).legends[0].get_texts()) == 2
    with pytest.raises(RunError, match="no map"):
        figures.maps({})


def test_figures_leave_the_users_settings_alone() -> None:
    with matplotlib.rc_context({"font.size": 31, "text.color": "red"}):
        figure = figures.kept_by_time([choose((0, 0))])
        assert matplotlib.rcParams["font.size"] == 31
    assert figure.axes[0].yaxis.label.get_fontsize() == 9


def test_figures_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.style"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RunError, match=re.escape("pip install 'geomask[demo]'")):
        figures.selection_matrix([choose((0, 0))])


def test_plain_keeps_what_can_be_read() -> None:
    assert plain("B04 \u84dd") == "B04 \u84dd"
    assert plain("a\nb\x00\ud800") == "a\ufffdb\ufffd\ufffd"
    assert plain("x" * 50, 10) == "x" * 9 + "\u2026"
    assert json.dumps(plain(3)) == '"3"'
