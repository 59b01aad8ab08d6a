"""Everything that geomask raises on purpose.

::

    GeomaskError                  catch this to catch them all; the command line prints it as one line
    |- SearchError   ValueError   a search that cannot be answered, or that found nothing
    |- ItemError     ValueError   a STAC item, a band or a profile that does not fit what was asked
    |- GridError     ValueError   geometry that does not line up: CRS, resolution, window outside
    |- SelectionError ValueError  a selection or budget that cannot be honoured
    |- ManifestError ValueError   a manifest that is broken, foreign or of another version
    |- LayoutError   ValueError   a file that is no COG, is broken, or whose layout is not supported
    |- FetchError    OSError      bytes that did not come, or came different from what was planned
    `- RunError      OSError      a run folder or an output that is missing, broken or in the way

    ItemWarning    UserWarning    an item that says what its file does not bear out; the file is right

Each leaf is also the built-in error that fits, so that code which knows nothing of geomask can catch it. A message
says what was wrong, the value, the limit, and what to do.
"""


class GeomaskError(Exception):
    """Base of every error that geomask raises on purpose."""


class SearchError(GeomaskError, ValueError):
    """A search that cannot be answered, or that found nothing."""


class ItemError(GeomaskError, ValueError):
    """A STAC item, a band or a profile that does not fit what was asked."""


class GridError(GeomaskError, ValueError):
    """Geometry that does not line up."""


class SelectionError(GeomaskError, ValueError):
    """A selection or a budget that cannot be honoured."""


class ManifestError(GeomaskError, ValueError):
    """A manifest that is broken, foreign or of another version."""


class LayoutError(GeomaskError, ValueError):
    """A file that is no COG, is broken, or whose layout is not supported."""


class FetchError(GeomaskError, OSError):
    """Bytes that did not come, or came different from what was planned."""


class RunError(GeomaskError, OSError):
    """A run folder or an output that is missing, broken or in the way."""


class ItemWarning(UserWarning):
    """An item says what its file does not bear out."""
