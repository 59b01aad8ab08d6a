"""Names on a benchmark's command line: some of those that it knows."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable


def names_of(known: Iterable[str], kind: str = "contender or case") -> Callable[[str], list[str]]:
    """A parser of ``name,name``: those that were named, in the benchmark's order; one that is not known is refused."""
    every = list(dict.fromkeys(known))

    def parse(text: str) -> list[str]:
        wanted = [name.strip() for name in text.split(",")]
        if unknown := [name for name in wanted if name not in every]:
            raise argparse.ArgumentTypeError(f"no {kind} {unknown[0]}; there are {', '.join(every)}")
        return [name for name in every if name in wanted]

    return parse
