"""A search of a server: what it is asked for, and what is done here because it cannot, or does not.

A server says by its conformance classes (STAC API 1.0, item search) whether it filters, sorts and trims. What it does
not say that it can is not asked of it but done here, to all that fits the rest. What it was asked for is checked on
every item that comes, with the tests that local items have to pass.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pystac_client.exceptions import APIError

from ..errors import ItemError
from .answer import answer_tests, as_json_filter, needed_fields, with_fields
from .fields import check_item, in_order, parse_fields, parse_sortby, short, sort_items, time_order, trim_fields
from .pages import Pages, warn
from .wire import as_sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pystac_client import Client, ItemSearch

    from .fields import Json
    from .matching import Test

#: The conformance class that a parameter needs, and what it does; other parameters belong to item search itself.
CLASSES = {"query": ("QUERY", "filter"), "filter": ("FILTER", "filter"), "sortby": ("SORT", "sort")}
CLASSES["fields"] = ("FIELDS", "trim items")

#: Statuses by which servers refuse a method or a parameter, rather than fail.
REFUSED = frozenset((400, 404, 405, 413, 414, 415, 422, 501))


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One search of one catalog."""

    client: Client
    """The catalog."""
    where: str
    """What messages call it."""
    asked: Json
    """The parameters, in the form that POST gives them."""
    sent: Json
    """The same, as the catalog is asked for them."""
    max_items: int | None
    """Items at most."""
    method: str | None
    """GET or POST where the user has chosen; else POST, and GET where that is refused."""
    here: frozenset[str]
    """Names of the parameters that the catalog is not asked for."""
    tests: dict[str, Test]
    """What an item has to pass, by the parameter that it follows from."""
    misfits: Counter[str] = field(default_factory=Counter)
    """How many items failed a test of what the catalog was asked for."""

    @classmethod
    def of(
        cls, client: Client, where: str, asked: Json, max_items: int | None, method: str | None, trusted: bool
    ) -> Inquiry:
        """Divide the work, with a warning for each part that falls to us. Of a trusted catalog nothing is checked."""
        here = {name for name, (needed, _) in CLASSES.items() if asked.get(name) and not client.conforms_to(needed)}
        for name in sorted(here):
            fetched = "whole items are fetched" if name == "fields" else "all that fits the rest is fetched"
            needed, does = CLASSES[name]
            what = f"{does} (item-search#{needed.lower()})"
            warn(f"{where} does not say that it can {what}: {fetched}, and {name} is applied here")
        tests = answer_tests(asked, here)
        kept = {name: test for name, test in tests.items() if name in here or not trusted}
        sent = asked if trusted else as_sent(asked)
        return cls(client, where, asked, sent, max_items, method, frozenset(here), kept)

    def features(self) -> list[Json]:
        """The items that fit, whole or with the fields asked for; by `sortby`, else by time."""
        found = sorted(self._try(self._collect), key=time_order)
        found = sort_items(found, self._keys)[: self.max_items]
        fields = parse_fields(self.asked.get("fields"))
        return [trim_fields(feature, *fields) for feature in found] if fields else found

    def count(self) -> int:
        """How many items fit: as the catalog counts them, unless it does not, or is caught; then they are fetched."""
        return self._try(self._count)

    @property
    def _keys(self) -> list[tuple[str, bool]]:
        return parse_sortby(self.asked.get("sortby"))

    def _try[T](self, take: Callable[[ItemSearch, Pages], T]) -> T:
        """Take an answer; where it is refused, ask without `limit`, then by GET. Raises the first refusal."""
        refusals = list[APIError]()
        for method in [self.method] if self.method else ["POST", "GET"]:
            for limit in dict.fromkeys((self.asked.get("limit"), None)):
                try:
                    taken = take(*self._search(method, limit))
                except APIError as error:
                    if getattr(error, "status_code", None) not in REFUSED:
                        raise
                    refusals.append(error)
                    continue
                if refusals:
                    shorter = " without limit" if limit != self.asked.get("limit") else ""
                    status = refusals[0].status_code
                    warn(f"{self.where} refused the search (status {status}); it was asked again, by {method}{shorter}")
                return taken
        raise refusals[0]

    def _search(self, method: str, limit: int | None) -> tuple[ItemSearch, Pages]:
        sent = {name: value for name, value in self.sent.items() if name not in (*self.here, "filter-lang", "limit")}
        if sent.get("filter"):
            sent["filter"] = as_json_filter(sent["filter"])  # pystac-client writes it as text for GET
        if sent.get("fields"):
            sent["fields"] = with_fields(sent["fields"], needed_fields(self.asked))
        search = self.client.search(method=method, limit=limit, **sent)
        pages = Pages(search._stac_io, self.where)
        search._stac_io = pages  # its constructor takes another one only in place of the client, which may sign items
        self.misfits.clear()
        return search, pages

    def _collect(self, search: ItemSearch, pages: Pages) -> list[Json]:
        """What fits: all of it, or as many items as are wanted where no later page can change which."""
        kept: list[Json] = []
        last: list[Json] = []
        came, trusted = 0, "sortby" not in self.here
        for page in search.pages_as_dicts():
            came += len(page["features"])
            kept += self._fitting(page["features"])
            if trusted and not in_order([*last, *page["features"]], self._keys):
                trusted = False
                warn(f"{self.where} answers in another order than sortby: all that fits is fetched and sorted here")
            last = page["features"][-1:]
            if self.max_items and len(kept) >= self.max_items and trusted:
                break
        self._report(came)
        return kept if self._keys else kept[: self.max_items]

    def _count(self, search: ItemSearch, pages: Pages) -> int:
        came = fitting = 0
        counted = not self.here & self.tests.keys()
        for page in search.pages_as_dicts():
            came += len(page["features"])
            fitting += len(self._fitting(page["features"]))
            if counted and pages.matched is not None and fitting == came:
                return pages.matched
        self._report(came)
        if counted and came and not self.misfits:
            warn(f"{self.where} does not count what fits: all {came} items were fetched")
        return fitting

    def _fitting(self, features: list[Json]) -> list[Json]:
        """Those that pass all tests."""
        fitting = []
        for feature in features:
            self._check(feature)
            failed = next((name for name, test in self.tests.items() if not test(feature)), None)
            if failed is None:
                fitting.append(feature)
            elif failed not in self.here:
                self.misfits[failed] += 1
        return fitting

    def _check(self, feature: Json) -> None:
        if not self.asked.get("fields"):
            check_item(feature)
        elif not isinstance(feature, dict) or not isinstance(feature.setdefault("properties", {}), dict):
            raise ItemError(f"{self.where} answers with what is no part of an item: {short(feature)}")

    def _report(self, came: int) -> None:
        for name, count in self.misfits.items():
            warn(f"{self.where} ignores {name}: {count} of {came} items do not fit and are left out")
