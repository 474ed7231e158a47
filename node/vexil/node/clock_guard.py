"""Our clock among the others': the stamps that we give and believe, and what is still taken when it is far off.

The stamps of a node whose clock is far off its peers' would win or lose races that they should not: it takes kills,
and nothing else. A kill is safe all the same: it holds whatever its stamp says.
"""

from __future__ import annotations

from collections.abc import Mapping

from vexil.crdt import hlc as hlcs
from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.directory import Directory
from vexil.node.gossip.peers import Peer, own_offset_ms
from vexil.node.lag import LagWindow
from vexil.node.seams import Clock
from vexil.node.telemetry import Telemetry

_KILL = schema.kill_field("")


class ClockGuard:
    """One node's clock, and how it and the stamps that come in stand to each other. No method yields."""

    def __init__(
        self,
        hybrid: hlcs.HybridClock,
        wall: Clock,
        directory: Directory,
        peers: Mapping[str, Peer],
        telemetry: Telemetry,
        *,
        skew_limit_ms: int,
    ) -> None:
        """``hybrid`` gives and takes the stamps; ``peers``, a live mapping, is whose clocks ours is compared with."""
        self.lag = LagWindow()
        self._hybrid = hybrid
        self._wall = wall
        self._directory = directory
        self._peers = peers
        self._telemetry = telemetry
        self._skew_limit_ms = skew_limit_ms

    # -- stamps

    def tick(self) -> int:
        """The HLC of a new local change."""
        return self._hybrid.tick(self._wall.wall_ms())

    def observe(self, change: Change) -> None:
        """Take a received change's stamp and lag into account."""
        wall_ms = self._wall.wall_ms()
        place = self._directory.place_of(change.incarnation)
        if self._hybrid.observe(change.hlc, wall_ms):
            self._telemetry.count_clock_suspect(place[1] if place else "unknown")
        if place is not None:
            lag_ms = max(0, wall_ms - hlcs.milliseconds(change.hlc))
            self.lag.add(place[1], lag_ms)
            self._telemetry.observe_lag(place[1], lag_ms)

    def observe_hlc(self, hlc: int) -> None:
        """Take the highest stamp of a peer, or of a whole state, into account, as far as it is believed."""
        self._hybrid.observe(hlc, self._wall.wall_ms())

    # -- our clock and the others'

    def offset_ms(self) -> int | None:
        """How far our wall clock is off the median of our peers; None while too few have been heard."""
        return own_offset_ms(self._peers.values())

    @property
    def suspect(self) -> bool:
        """Our own clock is so far off the others that our stamps cannot be believed."""
        offset_ms = self.offset_ms()
        return offset_ms is not None and abs(offset_ms) > self._skew_limit_ms

    def admit(self, intent: Intent) -> None:
        """Raises NodeNotReady for what must not be written while our clock is suspect."""
        if self.suspect and not only_kills(intent):
            raise errors.NodeNotReady(
                f"this node's clock is {self.offset_ms()} ms off its peers': it takes kills only"
            )


def only_kills(intent: Intent) -> bool:
    """Whether ``intent`` kills flags that are there and does nothing else."""
    rest = [w for w in intent.writes if not _is_kill(w)]
    return len(rest) < len(intent.writes) and all(map(_is_touch, rest))


def _is_kill(write: CellWrite) -> bool:
    return write.generation == NO_GENERATION and write.field.startswith(_KILL) and write.value is True


def _is_touch(write: CellWrite) -> bool:
    """Every edit of a flag touches its existence; a create or a delete does more than that."""
    return (
        write.field == schema.EXISTS
        and write.generation not in {NEW_GENERATION, NO_GENERATION}
        and write.value is not TOMBSTONE
    )
