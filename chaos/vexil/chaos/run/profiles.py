"""What the trouble of a run is about: some families of faults are likely, all others are rare.

A run that has some of everything has little of each; most of what goes wrong needs one kind of fault again and again,
or two of them together. So half of all runs have a subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PAUSES_S: Final = (0.4, 0.8, 2.0)


@dataclass(frozen=True, slots=True)
class Profile:
    """How one subject changes the odds."""

    odds: float
    """How often it is drawn, next to the others."""
    focus: frozenset[str] = frozenset()
    """Families and kinds of faults that it is about."""
    in_focus: float = 0.85
    """The probability that a run has one of these."""
    beside: float = 0.3
    """How likely every other kind is, as a share of its own odds."""
    weight: float = 2.0
    """How much more often a kind in focus is drawn than its own weight says."""
    pauses_s: tuple[float, ...] = PAUSES_S
    """Between two faults, on average: one of these."""
    world: float = 0.7
    """How likely each continuous fault of network, disk and store is, as a share of its own odds."""
    clocks: float = 0.3
    """How often clocks are far off, or coarse."""
    embedded: float = 0.5
    """How often each node has a store of its own."""
    load: float = 1.0
    """How much more clients ask for."""


PROFILES: Final[Mapping[str, Profile]] = {
    "mixed": Profile(4, beside=1.0, world=1.0, clocks=0.5),
    "links": Profile(2, frozenset(("links",)), world=1.0),
    "crashes": Profile(2, frozenset(("processes",)), pauses_s=(0.4, 0.8)),
    "disks": Profile(1.5, frozenset(("disks", "crash", "crash_at_point", "stop", "store_gone"))),
    "members": Profile(
        1.5, frozenset(("members", "crash", "cut_region", "isolate_node")), pauses_s=(0.8, 2.0)
    ),
    "copies": Profile(
        1.5,
        frozenset(("copies", "disk_old_copy", "disk_lost", "cut_region", "log_shortened")),
        pauses_s=(0.8, 2.0),
        embedded=0.8,
    ),
    "versions": Profile(1, frozenset(("versions", "poison", "crash", "cut")), pauses_s=(0.8, 2.0)),
    "clocks": Profile(1, frozenset(("clocks", "crash", "cut")), clocks=0.9),
    "storms": Profile(
        1,
        frozenset(("load", "stores", "disk_full", "slow_link", "narrow_link", "pause")),
        world=1.0,
        load=2.0,
    ),
    "calm": Profile(1, beside=0.1, pauses_s=(4.0,), world=0.3, clocks=0.1, load=2.0),
}
