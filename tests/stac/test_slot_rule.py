from datetime import date
from typing import Any

import pytest

from geomask.errors import ItemError
from geomask.stac.slot_rule import SlotRule, parse_slots

TEXTS = {
    "month": SlotRule(),
    "season": SlotRule("season"),
    "clearest:4": SlotRule("clearest", count=4),
    "dates:2018-05-01,2018-08-01": SlotRule("dates", dates=(date(2018, 5, 1), date(2018, 8, 1))),
    "dates:2020-02-29~10": SlotRule("dates", dates=(date(2020, 2, 29),), within=10),
    "days:100-150,335-59": SlotRule("days", days=((100, 150), (335, 59))),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_rule_is_one_line_of_text(text: str) -> None:
    assert parse_slots(text) == TEXTS[text]
    assert TEXTS[text].text == text


def test_dates_and_windows_are_sorted() -> None:
    assert parse_slots("dates:2018-08-01,2018-05-01").text == "dates:2018-05-01,2018-08-01"
    assert parse_slots("days:200-250,100-150").text == "days:100-150,200-250"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "week",
        "Month",
        "month:",
        "month:3",
        "season ",
        "clearest",
        "clearest:",
        "clearest:-1",
        "clearest:1.5",
        "clearest:+4",
        "clearest: 4",
        "clearest:٤",
        "clearest:1e3",
        "clearest:99999999999999999999",
        "dates",
        "dates:",
        "dates:2018-5-1",
        "dates:20180501",
        "dates:2018-02-29",
        "dates:2018-W01-1",
        "dates:2018-05-01,",
        "dates:2018-05-01~",
        "dates:2018-05-01~1~2",
        "dates:~10",
        "days:",
        "days:100",
        "days:100-150-200",
        "days:a-b",
        "days:100-150,",
    ],
)
def test_another_text_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ItemError, match=r"no rule for slots: .*; write month, season, clearest:4"):
        parse_slots(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clearest:0", "slots by clearest"),
        ("dates:2018-05-01~183", "around dates to 182"),
        ("dates:2018-05-01,2018-05-01", "a date twice"),
        ("dates:0001-05-01", "out of reach: 0001-05-01"),
        ("dates:9999-05-01", "out of reach: 9999-05-01"),
        ("days:0-10", "within days 1 to 366, unlike 0-10"),
        ("days:1-367", "unlike 1-367"),
        ("days:1-10,1-10", "windows differ"),
    ],
)
def test_numbers_out_of_range_are_refused(text: str, message: str) -> None:
    with pytest.raises(ItemError, match=message):
        parse_slots(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"by": "week"},
        {"mosaic": "median"},
        {"mosaic": None},
        {"count": 4},
        {"by": "dates"},
        {"by": "clearest", "count": -1},
        {"by": "clearest", "count": 1, "days": ((1, 2),)},
        {"by": "season", "within": 3},
        {"by": "dates", "dates": (date(2018, 5, 1),), "within": -1},
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ItemError):
        SlotRule(**fields)


@pytest.mark.parametrize("mosaic", ["least-cloudy", "first", "nearest"])
@pytest.mark.parametrize("text", TEXTS)
def test_json_has_the_text_and_the_mosaic(text: str, mosaic: Any) -> None:
    rule = parse_slots(text, mosaic)
    assert rule.to_dict() == {"slots": text, "mosaic": mosaic}
    assert SlotRule.from_dict(rule.to_dict()) == rule


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "month",
        {},
        {"slots": "month"},
        {"slots": "month", "mosaic": "first", "more": 1},
        {"slots": "month", "mosaic": "median"},
        {"slots": "month", "mosaic": ["first"]},
        {"slots": None, "mosaic": "first"},
        {"slots": ["month"], "mosaic": "first"},
    ],
)
def test_a_document_that_is_no_rule_is_refused(document: Any) -> None:
    with pytest.raises(ItemError):
        SlotRule.from_dict(document)
