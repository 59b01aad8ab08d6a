"""What there is: STAC items, searched with or without a server, and what their assets mean."""

import lazy_loader

# `search` itself is not listed: a function would hide the module of the same name. It is geomask.search.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "local_api": ["LocalApiIO"],
        "search": [
            "SearchParameters",
            "check_parameters",
            "count_matched",
            "describe_search",
            "item_collection",
            "load_found",
            "load_items",
            "open_catalog",
            "save_items",
            "search_features",
        ],
        "static": ["open_local"],
    },
)
