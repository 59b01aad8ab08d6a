"""Whether the files that a map was made from are still those: asked of each before the map goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import FetchError
from ..fetch import Want, fetch, same_version
from .ledger import load_entries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..signing import Sign
    from .outbox import Outbox

#: Files that are asked at once.
AT_ONCE = 256


def changed_sources(box: Outbox, tiles: Iterable[str], sign: Sign | None) -> dict[str, set[str]]:
    """The files that are other ones than when tiles were made from them, or gone, each with these tiles.

    One byte of each is fetched. Raises FetchError where a server does not answer.
    """
    table = load_entries(box, tiles, ("source",))
    made_from: dict[tuple[str, int, str | None], set[str]] = {}
    for row in table.select(["tile", "href", "nbytes", "etag"]).to_pylist():
        made_from.setdefault((row["href"], row["nbytes"], row["etag"]), set()).add(row["tile"])
    known, found = list(made_from), dict[str, set[str]]()
    for start in range(0, len(known), AT_ONCE):
        part = known[start : start + AT_ONCE]
        for (href, size, etag), now in zip(part, _ask([href for href, _, _ in part], sign), strict=True):
            if now is None or now[0] != size or not same_version(etag, now[1]):
                found.setdefault(href, set()).update(made_from[href, size, etag])
    return found


def _ask(hrefs: list[str], sign: Sign | None) -> list[tuple[int, str | None] | None]:
    """Size and ETag of each file; None for one that is gone."""
    try:
        return [(got.size, got.etag) for got in fetch([Want(href, 0, 1) for href in hrefs], sign=sign)]
    except FetchError as error:
        if len(hrefs) > 1:  # which of them?
            half = len(hrefs) // 2
            return _ask(hrefs[:half], sign) + _ask(hrefs[half:], sign)
        if str(error) == f"{hrefs[0]}: no such file":
            return [None]
        raise
