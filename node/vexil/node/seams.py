"""The seams of a node: everything that touches the world goes through one of these small Protocols.

Each has one real implementation (``vexil.node.adapters``) and one simulated one. The engine never asks which it has
got. Sleeping is plain ``trio.sleep`` and durations are ``trio.current_time()``: both are virtual under ``MockClock``.

Errors of this module, translated once by the adapter that meets them::

    SeamError
    ├── JournalError
    │   ├── JournalFull            definite: nothing of this append was written
    │   └── JournalIndeterminate   it may or may not be on disk: the process must not go on under its incarnation
    ├── StoreError
    │   ├── StoreUnavailable       definite: nothing was written
    │   └── StoreIndeterminate     written, partly written, or not written
    └── PeerError
        ├── PeerUnreachable        no answer; the call may or may not have been handled
        ├── PeerRefused            the peer answered no: ``code`` says why
        └── PeerNonsense           an answer that is not of the protocol
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from vexil.crdt.garbage import FoldRemoval

VersionVector = dict[int, int]


class SeamError(Exception):
    """Root of what an adapter may raise."""


class JournalError(SeamError):
    """The local journal could not do what was asked."""


class JournalFull(JournalError):
    """Definite: no record of this append was written (disk full, quota, read-only file system)."""


class JournalIndeterminate(JournalError):
    """The records may or may not be durable; only a fresh start (fresh incarnation, replay) can tell."""


class StoreError(SeamError):
    """The region's store could not do what was asked."""


class StoreUnavailable(StoreError):
    """Definite: nothing was written or read."""


class StoreIndeterminate(StoreError):
    """The write may have been applied wholly, in part, later, or not at all. Writing again is always safe."""


class PeerError(SeamError):
    """A call to a peer brought no usable answer."""


class PeerUnreachable(PeerError):
    """No connection, no answer in time, or the link is cut. The call may or may not have been handled."""


class PeerRefused(PeerError):
    """The peer answered with a refusal.

    ``code`` is stable, for example ``auth.failed``, ``member.unknown``, ``node.not_ready``, ``limit.frame``.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class PeerNonsense(PeerError):
    """The answer is not of the protocol (truncated, not signed, not msgpack, over a limit)."""


class Clock(Protocol):
    """The wall clock of this node; may be wrong, may step. Never used for durations."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""


class Entropy(Protocol):
    """Unpredictable bytes: keys, nonces, incarnations, generated rule ids."""

    def token_bytes(self, count: int) -> bytes:
        """``count`` bytes that nobody can guess (seeded in simulation)."""


class LogRecord(NamedTuple):
    """One change as the journal and the store keep it: the encoded bytes are never re-encoded."""

    project: str
    incarnation: int
    seq: int
    raw: bytes


class Journal(Protocol):
    """The node's own durable log. What is in it is never lost while the disk lives."""

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Make ``records`` durable, in this order, all or none; synced to the disk on return.

        A record that is there already (same project, dot and bytes) is not written twice. Concurrent calls are
        allowed and are taken in call order. Cancellation never leaves a half-written append: the call is shielded
        once it has been handed to the disk. Raises JournalFull (definite) or JournalIndeterminate.
        """

    def replay(self, *, after: Mapping[str, Mapping[int, int]]) -> AsyncGenerator[Sequence[LogRecord]]:
        """Every record that ``after`` (project -> version vector) does not cover, in append order.

        In bounded batches; a torn last record is not returned.
        """

    async def read_changes(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """As `Store.read_changes`, from what this journal still holds; it never waits for the region's store."""

    async def trim(self, project: str, through: Mapping[int, int]) -> None:
        """Drop the records with ``seq <= through[i]``; the caller knows that nobody needs them from here again.

        May be cut off and repeated at any point: what is left is always readable. Raises JournalError.
        """


class FoldEntry(NamedTuple):
    """One incarnation's part of one cell: lane and ``seen`` entry together, packed by ``vexil.crdt.cell``.

    ``lane_seq`` and ``seen_seq`` (0 = absent) are the write timestamps of the two columns.
    """

    object: str
    generation: tuple[int, int]
    field: str
    incarnation: int
    entry: bytes
    lane_seq: int
    seen_seq: int


@dataclass(frozen=True, slots=True)
class MemberRow:
    """What a slot says of itself in its region's store. A row is void beside one with a higher (start, revision)."""

    slot: str
    start: int
    revision: int
    incarnation: int
    checkpoint: Mapping[str, int] = field(default_factory=dict)
    """Per project: the checkpoint that is this slot's fold; one that is not named here is 0."""
    registration: str = ""
    """The registration under which the slot is a member; empty for one that has not joined."""
    vv: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """Per project: every row behind the fold's header up to here is in the store's log."""
    fold: Mapping[str, bytes] = field(default_factory=dict)
    """Per project: the replica's header (fold VV, chain hashes and more), opaque to the store."""
    forked: tuple[int, ...] = ()
    """Incarnations that the slot knows to have two histories, ascending."""
    hlc: int = 0
    """A stamp not below any that is believed of the changes under ``fold``; 0 in a row of an earlier version."""


class AsideRecord(NamedTuple):
    """A change that could not be taken in: kept for a person, never applied."""

    project: str
    reason: str
    sender: str
    raw: bytes


class HistoryRow(NamedTuple):
    """A change of the log with the opaque cursor that continues behind it."""

    cursor: str
    raw: bytes


class Store(Protocol):
    """The region's memory. The contract is Cassandra's: writes may be indeterminate, partial, reordered, late.

    The order in which the engine writes (rows, member VV, acknowledge, fold, member fold header) makes that safe;
    nothing here is a transaction across calls. Every write may be repeated with no effect.
    """

    kind: str
    """``sqlite``, ``cassandra``, …: shown in status."""
    shares_journal: bool
    """True if the journal's records *are* this store's change rows: the engine then never calls write_changes."""
    durability: str
    """What a change is when its row is in here: ``node`` or ``region``."""

    @property
    def damaged_records(self) -> int:
        """Rows of the log whose bytes reads have found damaged, and have left out, since the start."""

    async def read_member(self, slot: str) -> MemberRow | None:
        """The slot's newest row. Raises StoreUnavailable."""

    async def write_member(self, row: MemberRow) -> None:
        """Write the slot's row; void if a row with a higher (start, revision) is there."""

    async def write_changes(self, records: Sequence[LogRecord]) -> None:
        """Write immutable rows. A second row for a dot with other bytes is kept beside the first."""

    async def read_changes(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """Rows with ``after[i] < seq <= through[i]``, without gaps per incarnation, causes before effects.

        At most about ``limit_bytes`` of raw bytes, but at least one row when any is there. An empty answer means
        that no such row is here.
        """

    async def read_history(self, project: str, *, before: str | None, limit: int) -> Sequence[HistoryRow]:
        """Rows newest first, in reversed order of application, starting behind the cursor ``before``."""

    async def log_projects(self) -> Sequence[str]:
        """Names of all projects that have a row."""

    async def log_start(self, project: str) -> Mapping[int, int]:
        """Per incarnation that has a row: the seq before the first of its newest ones that have no gap between them.

        There is a gap where a snapshot has come that stands for rows which nobody of the region had: below it
        `read_changes` is of no use to whoever wants to go on from there.
        """

    async def trim_changes(self, project: str, through: Mapping[int, int]) -> None:
        """Drop the rows with ``seq <= through[i]``; in slices, and harmless when repeated.

        Every member of the region is past them: the log is shared.
        """

    async def write_past(self, project: str, records: Sequence[LogRecord]) -> None:
        """Write rows from before everything of ``project`` that is here, newest first.

        `read_history` shows them behind what was here, in this order; `read_changes` serves them like any other.
        A row that is there already stays where it is.
        """

    async def write_fold(self, project: str, entries: Sequence[FoldEntry], *, checkpoint: int = 0) -> None:
        """Upsert this slot's fold; per column the higher timestamp (seq) wins."""

    def read_fold(self, project: str, *, checkpoint: int = 0) -> AsyncIterator[Sequence[FoldEntry]]:
        """This slot's fold in bounded batches, ascending by (object, generation, field, incarnation).

        All entries of one object are adjacent.
        """

    async def collect_fold(
        self, project: str, removals: Sequence[FoldRemoval], *, checkpoint: int = 0
    ) -> None:
        """Row tombstones: of each named row, the column goes whose timestamp is not above the removal's.

        That may be the lane, the ``seen`` entry, both (then the row is gone) or nothing. Repeating is harmless. What
        a store may apply late and has got before stays dead.
        """

    async def fold_checkpoints(self) -> Mapping[str, Sequence[int]]:
        """Per project: the checkpoints of this slot's folds that may have a row, ascending."""

    async def drop_fold(self, project: str, checkpoint: int) -> None:
        """Remove a checkpoint that nobody reads any more; in slices, and harmless when repeated.

        Its number is never used again for this project: what was on its way to it may land late.
        """

    async def put_aside(self, record: AsideRecord) -> None:
        """Keep a change that was refused (bounded by ``aside_limit``: the oldest go first)."""

    async def read_aside(self) -> Sequence[AsideRecord]:
        """What was put aside, oldest first."""


class Archive(Protocol):
    """What a slot had under an earlier registration: read once more when the slot has come back, then let go."""

    registration: str
    """Whose state it was; "" if it had none."""
    slot: str

    @property
    def damaged(self) -> int:
        """How many rows ``records`` has left out so far because they are damaged; each counts once."""

    async def row(self) -> MemberRow | None:
        """What the slot said of itself last. Raises StoreError."""

    def records(self) -> AsyncIterator[Sequence[LogRecord]]:
        """Every change row of every project in bounded batches, causes before effects. Raises StoreError."""

    async def discard(self) -> None:
        """All of it is elsewhere now: it is not there at the next start. Repeating is harmless. Raises StoreError.

        With a damaged row in it, it is kept where no start looks for it.
        """


class PeerIdentity(NamedTuple):
    """Who calls: the slot and region that the caller's signed envelope names."""

    node: str
    region: str


class PeerAddress(NamedTuple):
    """Where a peer listens. ``node`` and ``region`` are empty for a seed whose name is not known yet."""

    node: str
    region: str
    url: str


PeerHandler = Callable[[PeerIdentity, str, bytes], Awaitable[bytes]]
"""Serves ``(caller, method, body)``; raises PeerRefused. Anything else it raises is our own bug."""


class PeerTransport(Protocol):
    """Authenticated request and answer between nodes of one cluster."""

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        """Send ``body`` to ``peer`` and return its answer (each at most ``frame_limit_bytes``).

        ``method`` is one of ``join``, ``digest``, ``pull``, ``push``. Cancellation abandons the call: whether it
        was handled is unknown. Raises PeerUnreachable, PeerRefused, PeerNonsense.
        """
