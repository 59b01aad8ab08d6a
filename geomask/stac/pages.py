"""The pages of an answer, fetched one after another as pystac-client does, and checked: paging has to advance."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pystac import Link
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import DoesNotConformTo

from ..errors import SearchError
from .fields import short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .fields import Json

#: Empty pages one after another, each of which leads to a next one, after which no more is expected.
MOST_EMPTY = 50


class ServerWarning(DoesNotConformTo):
    """A server that does less than it says, or than a search needs; what is done about it."""

    def __str__(self) -> str:
        return str(self.args[0])


def warn(message: str) -> None:
    """Say in one line what a server gets wrong."""
    warnings.warn(ServerWarning(message), stacklevel=3)


class Pages(StacApiIO):
    """pystac-client's transport with checked pages; `inner` sends the requests, `where` names the server.

    pystac-client ends at an empty page, and follows next links for ever where they lead back. Here an empty page is
    passed over, an item that came before is left out, and a page of nothing else is an error.
    """

    def __init__(self, inner: StacApiIO, where: str) -> None:
        super().__init__()
        self.matched: int | None = None
        """How many items fit, as the first page says."""
        self._inner, self._where = inner, where
        self._came: set[tuple[Any, Any]] = set()
        self._twice = 0

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """The answer to one request."""
        return self._inner.read_text(source, *args, **kwargs)

    def get_pages(
        self, url: str, method: str | None = None, parameters: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Pages that hold items, each item once. Raises SearchError where paging does not advance."""
        page = self._check(self.read_json(url, method=method, parameters=parameters))
        self.matched = _matched(page)
        empty = 0
        while True:
            features = page["features"]
            if news := self._new(features):
                yield {**page, "features": news}
            link = next((link for link in page.get("links") or () if link.get("rel") == "next"), None)
            if link is None:
                break
            if not news and len(self._came) == self.matched:  # a last page that leads on
                return
            empty = 0 if features else empty + 1
            if (features and not news) or empty > MOST_EMPTY:
                raise SearchError(self._stuck(empty))
            page = self._check(self.read_json(Link.from_dict(link), parameters=parameters))
        if self._twice:
            warn(f"{self._where} gave {self._twice} items more than once; each is kept once, others may be missing")

    def _check(self, page: Any) -> Json:
        if not isinstance(page, dict) or not isinstance(page.get("features"), list):
            raise SearchError(f"{self._where} answers a search with no items: {short(page)}")
        return page

    def _new(self, features: list[Any]) -> list[Any]:
        """Those that have not come before, where they say which they are."""
        news = []
        for feature in features:
            known = isinstance(feature, dict) and isinstance(feature.get("id"), str)
            name = (str(feature.get("collection")), feature["id"]) if known else None
            if name not in self._came:
                news.append(feature)
            else:
                self._twice += 1
            if name:
                self._came.add(name)
        return news

    def _stuck(self, empty: int) -> str:
        of = "" if self.matched is None else f" of the {self.matched} that it counts"
        what = f"gave {empty} empty pages in a row" if empty else "gave a page of nothing but items that had come"
        return f"{self._where} {what}, after {len(self._came)} items{of}: paging does not advance; ask for less at once"


def _matched(page: Json) -> int | None:
    """The count of a page, where it has one: ``numberMatched``, or ``context.matched`` of servers before 1.0."""
    context = page.get("context")
    number = page.get("numberMatched", context.get("matched") if isinstance(context, dict) else None)
    return number if isinstance(number, int) else None
