"""The decision: which channels of a model's input are read, and at which version.

A channel is one (slot, band). What is decided here is frozen, printable and comparable before a single pixel is read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .atomic import write_text
from .errors import GeomaskError, SelectionError
from .stac.profile import Band
from .stac.slot import Slot
from .stac.slot_rule import SlotRule, parse_slots
from .stac.transfer import move_slots

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import xarray as xr
    from pystac import Item

VERSION = 2


@dataclass(frozen=True, slots=True, order=True)
class Channel:
    """A channel that is read."""

    slot: int
    """Position of its slot, 0-based."""
    band: int
    """Position of its band, 0-based."""
    level: int | None = None
    """Its version: None is full resolution, 0 the first overview, as in rasterio."""

    def __post_init__(self) -> None:
        """Refuse what is no version."""
        if self.level is not None and (type(self.level) is not int or self.level < 0):
            raise SelectionError(f"a level is None or an overview's number from 0, not {self.level!r}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of all channels (slots x bands), in order of slot, then band."""

    slots: tuple[Slot, ...]
    """The whole time axis, also the slots of which nothing is read."""
    bands: tuple[Band, ...]
    """All bands, also those of which nothing is read."""
    channels: tuple[Channel, ...]
    """What is read."""
    rule: SlotRule = field(default_factory=SlotRule)
    """How the slots were made, and in which order items fill them."""
    profile: str | None = None
    """Name of the profile that the bands are from, where it is known."""

    def __post_init__(self) -> None:
        """Sort the channels; refuse one that is twice there or lies outside, and names that are not unique."""
        for kind, named in (("slot", self.slots), ("band", self.bands)):
            if len({thing.name for thing in named}) < len(named):
                raise SelectionError(f"two {kind}s have one name: {', '.join(thing.name for thing in named)}")
        places = [(channel.slot, channel.band) for channel in self.channels]
        if len(set(places)) < len(places):
            raise SelectionError("a selection names a channel twice; choose one version of each")
        for slot, band in places:
            if not (0 <= slot < len(self.slots) and 0 <= band < len(self.bands)):
                raise SelectionError(
                    f"channel ({slot}, {band}) lies outside {len(self.slots)} slots x {len(self.bands)} bands"
                )
        order = sorted(self.channels, key=lambda channel: (channel.slot, channel.band))
        object.__setattr__(self, "channels", tuple(order))

    @classmethod
    def dense(
        cls, slots: Sequence[Slot], bands: Sequence[Band], rule: SlotRule | str = "month", profile: str | None = None
    ) -> Self:
        """Every channel at full resolution. `rule` is what the slots were made by."""
        rule = parse_slots(rule) if isinstance(rule, str) else rule
        channels = (Channel(slot, band) for slot in range(len(slots)) for band in range(len(bands)))
        return cls(tuple(slots), tuple(bands), tuple(channels), rule, profile)

    def keep(self, units: Iterable[int]) -> Selection:
        """The channels at these positions in `self.channels`. Raises SelectionError for one that is not there."""
        units = list(units)
        if outside := [unit for unit in units if not 0 <= unit < len(self.channels)]:
            raise SelectionError(f"no channel {outside[0]} in a selection of {len(self.channels)}")
        return replace(self, channels=tuple(self.channels[unit] for unit in units))

    def on(self, items: Iterable[Item]) -> Selection:
        """The same channels on slots that fit these items, of another year or place (`move_slots`).

        This very selection where its slots fit already. Raises ItemError where an item has no time.
        """
        slots = move_slots(self.slots, self.rule, items, {channel.slot for channel in self.channels})
        return self if slots == self.slots else replace(self, slots=slots)

    @property
    def names(self) -> list[str]:
        """``slot/band`` of every channel that is read."""
        return [f"{self.slots[c.slot].name}/{self.bands[c.band].name}" for c in self.channels]

    @property
    def digest(self) -> str:
        """SHA-256 of what the selection says, hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_xarray(self) -> xr.DataArray:
        """What is read, as booleans (slot, band), with names as coordinates."""
        import numpy as np
        import xarray as xr

        kept = np.zeros((len(self.slots), len(self.bands)), bool)
        for channel in self.channels:
            kept[channel.slot, channel.band] = True
        slots, bands = [slot.name for slot in self.slots], [band.name for band in self.bands]
        # naive UTC: numpy has no time zones
        times = np.array([slot.start.replace(tzinfo=None) for slot in self.slots], "datetime64[ns]")
        coords = {"slot": slots, "band": bands, "time": ("slot", times)}
        return xr.DataArray(kept, dims=("slot", "band"), coords=coords, name="selected")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: channels by the names of their slot and band."""
        return {
            "geomask": "selection",
            "version": VERSION,
            "profile": self.profile,
            "rule": self.rule.to_dict(),
            "slots": [{"name": s.name, "start": s.start.isoformat(), "end": s.end.isoformat()} for s in self.slots],
            "bands": [band.to_dict() for band in self.bands],
            "channels": [[self.slots[c.slot].name, self.bands[c.band].name, c.level] for c in self.channels],
        }

    @classmethod
    def from_dict(cls, document: Any) -> Self:
        """Raises SelectionError where the document is no selection, or of another version."""
        if not isinstance(document, dict) or document.get("geomask") != "selection":
            raise SelectionError("this is no geomask selection")
        if document.get("version") != VERSION:
            raise SelectionError(
                f"a selection of version {document.get('version')}; this geomask reads version {VERSION}: train anew"
            )
        try:
            slots = tuple(
                Slot(datetime.fromisoformat(s["start"]), datetime.fromisoformat(s["end"]), str(s["name"]))
                for s in document["slots"]
            )
            bands = tuple(Band.from_dict(band) for band in document["bands"])
            slot_at = {slot.name: number for number, slot in enumerate(slots)}
            band_at = {band.name: number for number, band in enumerate(bands)}
            channels = tuple(Channel(slot_at[s], band_at[b], level) for s, b, level in document["channels"])
            profile = document["profile"]
            if profile is not None and not isinstance(profile, str):
                raise TypeError(f"{profile!r} is no name of a profile")
            return cls(slots, bands, channels, SlotRule.from_dict(document["rule"]), profile)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, GeomaskError):
                raise
            raise SelectionError(f"a broken selection: {type(error).__name__} {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``selection.json``."""
        write_text(path, json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Raises SelectionError where there is no file, or it is no selection."""
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise SelectionError(f"cannot read the selection {path}: {error.strerror}") from error
        except ValueError as error:
            raise SelectionError(f"{path} is no JSON: {error}") from error
        try:
            return cls.from_dict(document)
        except GeomaskError as error:
            raise SelectionError(f"{path}: {error}") from error
