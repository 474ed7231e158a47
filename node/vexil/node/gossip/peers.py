"""What a node knows of the others: when it heard them, how their clocks stand, how fresh its knowledge is.

Ages are durations on the local monotonic clock, never differences of wall clocks: a node whose wall clock is a year
off can neither look fresh nor make others look stale.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

import trio

from vexil.node.gossip.messages import PAGE_BYTES, PAGE_BYTES_MIN

INTERVALS_KEPT_MAX = 32
SUSPICION_THRESHOLD = 4.0
"""phi of 4: such a silence comes by chance once in 10^4 intervals (Hayashibara et al., 2004)."""
SKEW_PEERS_MIN = 3
"""So many peers must have been heard before a node doubts its own clock."""
OFFSET_AGE_MAX_S = 60.0


@dataclass(slots=True)
class Peer:
    """One member as seen from here, under one registration. Times are `trio.current_time()` seconds."""

    node: str
    region: str
    url: str
    registration: str = ""
    answers_as: str = ""
    """The registration that it named in its last answer that names one; another one if somebody else has its place by
    now. Empty for an earlier version."""
    interval_s: float = 1.0
    """How often digests are due; contacts that come closer together (pushes) do not make a pause suspicious."""
    known_s: float | None = None
    """Since when this process knows it as a member."""
    heard_s: float | None = None
    unreachable: bool = False
    """Our last call to it brought nothing, and it has not been heard since."""
    offset_ms: int | None = None
    """Its wall clock minus ours, when it was last measured."""
    offset_s: float = -math.inf
    page_bytes: int = PAGE_BYTES
    """How much is asked of it, or pushed, at once: halved when a call times out, doubled when one goes through."""
    intervals_s: deque[float] = field(default_factory=lambda: deque(maxlen=INTERVALS_KEPT_MAX))
    vv: dict[str, dict[int, int]] = field(default_factory=dict)
    """Per project the last vector it told; only a lower bound."""

    def heard(self, *, offset_ms: int | None) -> None:
        """It answered, or called, just now."""
        now = trio.current_time()
        if self.heard_s is not None:
            self.intervals_s.append(now - self.heard_s)
        self.heard_s = now
        self.unreachable = False
        if offset_ms is not None:
            self.offset_ms = offset_ms
            self.offset_s = now

    def page_did_not_fit(self) -> None:
        """A call with a page did not come through in its time: perhaps the link is slow."""
        self.page_bytes = max(self.page_bytes // 2, PAGE_BYTES_MIN)

    def page_fitted(self) -> None:
        """A call with a page came through."""
        self.page_bytes = min(self.page_bytes * 2, PAGE_BYTES)

    def suspicion(self) -> float:
        """phi, with exponentially distributed intervals; infinite for one that was never heard."""
        if self.heard_s is None:
            return math.inf
        if not self.intervals_s:
            return 0.0
        mean = max(sum(self.intervals_s) / len(self.intervals_s), self.interval_s)
        return (trio.current_time() - self.heard_s) / mean / math.log(10)

    @property
    def suspected(self) -> bool:
        """Whether it has been silent for improbably long. It decides who is asked first, and nothing else."""
        return self.suspicion() > SUSPICION_THRESHOLD


class Freshness:
    """Per origin slot: up to which moment everything that it wrote is here."""

    __slots__ = ("_known_s", "_members")

    def __init__(self) -> None:
        """Nothing is known of anybody; nobody is a member yet."""
        self._known_s: dict[str, float] = {}
        self._members: frozenset[str] = frozenset()

    def ages_ms(self, own_slot: str) -> dict[str, int]:
        """How old the knowledge of each slot is; of oneself it is of this moment."""
        now = trio.current_time()
        ages = {slot: max(0, int((now - at) * 1000)) for slot, at in self._known_s.items()}
        ages[own_slot] = 0
        return ages

    def age_ms(self, slot: str) -> int | None:
        """The age for one slot; None if nothing was ever heard of it, directly or through others."""
        at = self._known_s.get(slot)
        return None if at is None else max(0, int((trio.current_time() - at) * 1000))

    def merge(self, ages_ms: Mapping[str, int], *, asked_s: float) -> None:
        """All that a peer had is here now, and it told these ages in answer to a question asked at ``asked_s``.

        Of slots that are no members nothing is kept: what is kept is passed on.
        """
        for slot, age in ages_ms.items():
            if slot not in self._members:
                continue
            at = asked_s - age / 1000
            if at > self._known_s.get(slot, -math.inf):
                self._known_s[slot] = at

    def follow(self, members: Iterable[str]) -> None:
        """From now on only these slots are members."""
        self._members = frozenset(members)
        for slot in [s for s in self._known_s if s not in self._members]:
            del self._known_s[slot]


def own_offset_ms(peers: Iterable[Peer]) -> int | None:
    """How far this node's wall clock is off the median of its peers; None while too few have been heard lately."""
    now = trio.current_time()
    offsets = [p.offset_ms for p in peers if p.offset_ms is not None and now - p.offset_s <= OFFSET_AGE_MAX_S]
    return -int(median(offsets)) if len(offsets) >= SKEW_PEERS_MIN else None
