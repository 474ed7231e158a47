"""What should not happen, counted and logged once where it is met.

A refused change, a fork, a divergence, an unreadable object, a store or a peer that does not answer: each becomes a
number in status and metrics and one line in the log, and none of them stops the node.
"""

from __future__ import annotations

from hashlib import blake2b

from vexil.node.repair_report import Repair
from vexil.node.seams import AsideRecord, JournalFull, PeerRefused, SeamError
from vexil.node.telemetry import Log, Telemetry

ASIDE_REMEMBERED_MAX = 10_000
"""Refused changes that are recognised when they come again."""
TWINS_MAX = 1_000


class Alarms:
    """The counters behind ``alarms`` in status. No method raises or waits."""

    def __init__(self, telemetry: Telemetry, log: Log) -> None:
        """Nothing has happened yet."""
        self._telemetry = telemetry
        self._log = log
        self.forks = 0
        self.divergences = 0
        self.damaged = 0
        self.restored = 0
        self.unknown = 0
        self.repairs = 0
        self.journal_refusals = 0
        self._twins: set[int] = set()
        self.aside_count = 0
        self._aside_seen: dict[bytes, None] = {}
        self._failing: set[str] = set()

    def aside(self, record: AsideRecord) -> bool:
        """A change is not taken in. True if it is the first time that it is seen."""
        key = blake2b(record.raw, digest_size=16, key=record.project.encode()[:64]).digest()
        if key in self._aside_seen:
            return False
        self._aside_seen[key] = None
        if len(self._aside_seen) > ASIDE_REMEMBERED_MAX:
            del self._aside_seen[next(iter(self._aside_seen))]
        self.aside_count += 1
        self._telemetry.count_aside(record.reason.partition(":")[0])
        self._log.error(
            "change put aside", project=record.project, reason=record.reason, sender=record.sender
        )
        return True

    def fork(self, project: str, incarnation: int, sender: str) -> None:
        """One incarnation has two histories."""
        self.forks += 1
        self._telemetry.alarm_fork(project)
        self._log.error(
            "fork: one incarnation, two histories",
            project=project,
            incarnation=f"{incarnation:016x}",
            sender=sender,
        )

    def log_damaged(self, project: str) -> None:
        """Our own log lacks changes that this slot had announced; peers may have them."""
        self.damaged += 1
        self._log.error("the log lacks changes that this slot had", project=project)

    def log_lost(self, project: str) -> None:
        """No peer has given them back in time: the node serves without them."""
        self._log.error("changes that this slot had are not back: going on without them", project=project)

    @property
    def twins(self) -> int:
        """How many other processes have begun in our slot."""
        return len(self._twins)

    def twin(self, incarnation: int) -> None:
        """Another process says that it runs in our slot; told once for each."""
        if incarnation not in self._twins and len(self._twins) < TWINS_MAX:
            self._twins.add(incarnation)
            self._log.error("another process runs in this slot", incarnation=f"{incarnation:016x}")

    def standing(self, standing: str) -> None:
        """What this node is in the cluster has changed."""
        if standing == "restored":
            self.restored += 1
        elif standing == "unknown":
            self.unknown += 1
        tell = self._log.info if standing in {"joining", "member"} else self._log.error
        tell("standing in the cluster", standing=standing)

    def divergence(self, project: str, peer: str) -> None:
        """Equal vectors, unequal root hashes."""
        self.divergences += 1
        self._telemetry.alarm_divergence(project)
        self._log.error("equal vectors, unequal root hashes", project=project, peer=peer)

    def snapshot(self, project: str, peer: str, outcome: str, error: Exception | None) -> None:
        """A peer's whole state was asked for."""
        self._telemetry.count_snapshot(outcome)
        if error is None:
            self._log.info("snapshot", project=project, peer=peer, outcome=outcome)
        else:
            self._log.warning("snapshot failed", project=project, peer=peer, error=str(error))

    def past_refused(self, project: str, peer: str, rows: int) -> None:
        """A peer has sent rows from before a snapshot that are not of the log."""
        self._telemetry.count_past_refused(rows)
        self._log.error("rows of the past fit no chain", project=project, peer=peer, rows=rows)

    def repair(self, repair: Repair) -> None:
        """Our state and a peer's were not equal, and have been compared."""
        facts = repair.plain()
        if repair.cells or repair.root:
            self.repairs += 1
            self._telemetry.count_mended(repair.project, repair.cells)
            self._log.error("state mended", **facts)
        else:
            self._log.warning("state differs from a peer's, and nothing is wrong here", **facts)

    def repair_failed(self, project: str, peer: str, error: Exception) -> None:
        """The comparison with a peer broke off, or the store did not take what it led to."""
        self._log.warning("repair broke off", project=project, peer=peer, error=str(error))

    def defect(self, project: str, name: str, error: Exception) -> None:
        """Our own reader failed on an object."""
        self._telemetry.count_defect(project)
        self._log.error("an object could not be read", project=project, object=name, error=repr(error))

    def journal_full(self, error: JournalFull) -> None:
        """An append failed for good."""
        self.journal_refusals += 1
        self._telemetry.count_journal_full()
        self._log.error("journal takes nothing", error=str(error))

    def store_failed(self, error: SeamError) -> None:
        """The region's store did not do what was asked."""
        self._telemetry.count_store_failure(type(error).__name__)
        self._log.warning("the region's store does not answer", error=str(error))

    def call_failed(self, peer: str, method: str, error: Exception) -> None:
        """A call to a peer brought nothing; logged at the first failure of a row of them."""
        reason = error.code if isinstance(error, PeerRefused) else type(error).__name__
        self._telemetry.count_call_failure(peer, method, reason)
        if peer not in self._failing:
            self._failing.add(peer)
            self._log.warning("peer does not answer", peer=peer, method=method, error=str(error))

    def call_succeeded(self, peer: str) -> None:
        """A call went through; logged if the one before had not."""
        if peer in self._failing:
            self._failing.discard(peer)
            self._log.info("peer answers again", peer=peer)
