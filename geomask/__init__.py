"""geomask learns which bands and dates of satellite imagery a model needs, and reads only those bytes.

The pipeline::

    items = search("catalog.json", bbox=..., datetime="2018")       # STAC, through pystac-client
    selection = Selection.load("run/selection.json")                # decided by geomask.train, plain data
    index = index_selection(selection, items)                       # headers of the files it names, no other
    grid = choose_grid(selection, items, index)
    manifest = compile_manifest(selection, items, index, grid)      # exact byte ranges, before a pixel is read
    cube, receipt = read_manifest(manifest, index)                  # rasterio decodes; bytes as planned
    cube.to_xarray()

What learns (`geomask.chips`, `geomask.masks`, `geomask.train`) and infers (`geomask.infer`) needs torch and is imported
by name; nothing here does.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cog.index": ["HeaderIndex", "index_headers"],
        "errors": ["GeomaskError"],
        "grid": ["Grid", "Window"],
        "plan.compile": ["compile_manifest"],
        "plan.cost": ["Cost"],
        "plan.manifest": ["Manifest"],
        "plan.request": ["ReadRequest"],
        "plan.sources": ["choose_grid", "index_selection"],
        "read.cube": ["Cube"],
        "read.items": ["open_items"],
        "read.lazy": ["read_chip"],
        "read.reader": ["read_manifest"],
        "read.receipt": ["Receipt"],
        "selection": ["Channel", "Selection"],
        "stac.profile": ["Band", "Profile", "load_profile"],
        "stac.search": ["load_items", "save_items", "search"],
        "stac.slots": ["Slot", "make_slots", "parse_slots", "rank_items"],
    },
)
