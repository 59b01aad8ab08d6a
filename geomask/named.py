"""Functions of the user's own, by name: no file of geomask's says by itself what code is run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def load_function(text: str) -> Callable[..., Any]:
    """The function that ``module:function`` names; its module is imported.

    Raises ValueError where the text is no such name, and ImportError, which says why, where there is no such function.
    """
    module, _, name = text.partition(":")
    if not name or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"{text!r} is no MODULE:FUNCTION")
    found = getattr(import_module(module), name, None)
    if not callable(found):
        raise ImportError(f"{module} has no function {name}")
    return found  # type: ignore[no-any-return]
