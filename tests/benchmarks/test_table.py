import json
from pathlib import Path


def make_figures():
    from table import Figures, Row

    rows = [
        Row("one", "A/cold", "bytes", 1500.0, "B", 3, 1000.0, 2000.0),
        Row("one", "A/cold", "exact", 1.0, "fraction", 3, 1.0, 1.0),
        Row("two, which is long", "A/cold", "bytes", None, "B", note="does not install"),
        Row("two, which is long", "A/cold", "exact", None, "fraction", note="does not install"),
        Row("one", "B", "bytes", 7.0, "B", 1, 7.0, 7.0),
    ]
    return Figures.now({"one": "1.0"}, rows)


def columns():
    from table import Column

    return (
        Column("bytes", "kB", lambda row: f"{row.value / 1e3:.1f}"),
        Column("exact", "exact", lambda row: "yes" if row.value == 1 else "no"),
    )


def test_what_is_written_is_read_back_equal(tmp_path: Path):
    from table import Figures

    figures = make_figures()
    figures.save(tmp_path / "figures.json")
    assert Figures.load(tmp_path / "figures.json") == figures


def test_the_file_is_tidy_and_has_a_note_only_where_there_is_no_value(tmp_path: Path):
    make_figures().save(tmp_path / "figures.json")
    document = json.loads((tmp_path / "figures.json").read_text())
    assert set(document) == {"date", "machine", "versions", "rows"}
    fields = {"contender", "case", "metric", "value", "unit", "n", "low", "high"}
    for row in document["rows"]:
        assert set(row) == (fields if row["value"] is not None else {*fields, "note"})


def test_text_has_a_block_a_case_with_its_columns_and_says_why_a_contender_has_no_figures():
    from table import table

    assert table(make_figures(), columns()).splitlines() == [
        "A/cold",
        "  contender            kB  exact",
        "  one                 1.5    yes",
        "  two, which is long  does not install",
        "",
        "B",
        "  contender   kB",
        "  one        0.0",
    ]


def test_every_line_of_markdown_has_all_columns_of_its_case():
    from table import table

    lines = [line for line in table(make_figures(), columns(), markdown=True).splitlines() if line.startswith("|")]
    assert lines[:2] == ["| contender | kB | exact |", "| --- | ---: | ---: |"]
    assert "| two, which is long | does not install |  |" in lines
    assert [line.count("|") for line in lines] == [4, 4, 4, 4, 3, 3, 3]


def test_figures_of_a_page_are_refreshed_between_its_marks_and_nothing_else(tmp_path: Path):
    from table import write_figures

    page = tmp_path / "page.md"
    page.write_text("# Before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n", encoding="utf-8")
    for shown in ("new\n", "newer\n"):
        write_figures(page, shown)
        assert page.read_text(encoding="utf-8") == (
            f"# Before\n<!-- figures -->\n\n{shown}\n<!-- /figures -->\nafter\n"
        )
