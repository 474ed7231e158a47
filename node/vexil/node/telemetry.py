"""What the engine tells its observers: counters and one log line a fact. Simulations record it, nodes export it."""

from __future__ import annotations

from typing import Protocol


class Telemetry(Protocol):
    """Where the engine's numbers go. No method may raise or wait."""

    def observe_lag(self, origin_region: str, lag_ms: int) -> None:
        """A change of ``origin_region`` was applied ``lag_ms`` after its stamp."""

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """``direction`` is ``sent`` or ``received``; ``kind`` is ``payload`` or ``digest``."""

    def count_call_failure(self, peer: str, method: str, reason: str) -> None:
        """A call to a peer brought nothing; ``reason`` is a refusal's code or the error's type."""

    def observe_journal(self, records: int, seconds: float) -> None:
        """One append of the journal."""

    def count_applied(self, project: str, *, local: bool) -> None:
        """A change is in the journal and in memory."""

    def alarm_fork(self, project: str) -> None:
        """One incarnation has two histories."""

    def alarm_divergence(self, project: str) -> None:
        """Equal vectors, unequal root hashes."""

    def count_aside(self, reason: str) -> None:
        """A change was kept for a person."""

    def count_store_failure(self, operation: str) -> None:
        """The region's store did not take a write."""

    def count_defect(self, project: str) -> None:
        """An object could not be read for a reason of ours."""

    def count_clock_suspect(self, region: str) -> None:
        """A received stamp is too far ahead to be believed."""

    def count_journal_full(self) -> None:
        """The journal takes nothing."""

    def count_snapshot(self, outcome: str) -> None:
        """A peer's whole state was asked for: ``taken``, ``level`` (nothing was missing) or ``failed``."""

    def count_past_refused(self, rows: int) -> None:
        """Rows from before a snapshot are not of the log that they were said to be of."""

    def count_mended(self, project: str, cells: int) -> None:
        """A repair was made: so many cells are others now, or none if it was the root hash alone."""

    def count_collected(self, project: str, rows: int) -> None:
        """Garbage was taken out of a state: so many parts of cells."""

    def observe_garbage_round(self, project: str, seconds: float) -> None:
        """One round of collecting over a project that had something to look at."""

    def count_retired(self, project: str, incarnations: int) -> None:
        """Incarnations that have ended were taken out of the vectors."""

    def count_trimmed(self, project: str, rows: int) -> None:
        """Rows of the log that nobody needs any more have gone."""


class Log(Protocol):
    """A structured logger: an event name and its facts."""

    def info(self, event: str, **facts: object) -> object:
        """Worth knowing."""

    def warning(self, event: str, **facts: object) -> object:
        """Worth a look."""

    def error(self, event: str, **facts: object) -> object:
        """Somebody must act."""


class Silence:
    """Telemetry and log that go nowhere."""

    def observe_lag(self, origin_region: str, lag_ms: int) -> None:
        """Nothing."""

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """Nothing."""

    def count_call_failure(self, peer: str, method: str, reason: str) -> None:
        """Nothing."""

    def observe_journal(self, records: int, seconds: float) -> None:
        """Nothing."""

    def count_applied(self, project: str, *, local: bool) -> None:
        """Nothing."""

    def alarm_fork(self, project: str) -> None:
        """Nothing."""

    def alarm_divergence(self, project: str) -> None:
        """Nothing."""

    def count_aside(self, reason: str) -> None:
        """Nothing."""

    def count_store_failure(self, operation: str) -> None:
        """Nothing."""

    def count_defect(self, project: str) -> None:
        """Nothing."""

    def count_clock_suspect(self, region: str) -> None:
        """Nothing."""

    def count_journal_full(self) -> None:
        """Nothing."""

    def count_snapshot(self, outcome: str) -> None:
        """Nothing."""

    def count_past_refused(self, rows: int) -> None:
        """Nothing."""

    def count_mended(self, project: str, cells: int) -> None:
        """Nothing."""

    def count_collected(self, project: str, rows: int) -> None:
        """Nothing."""

    def observe_garbage_round(self, project: str, seconds: float) -> None:
        """Nothing."""

    def count_retired(self, project: str, incarnations: int) -> None:
        """Nothing."""

    def count_trimmed(self, project: str, rows: int) -> None:
        """Nothing."""

    def info(self, event: str, **facts: object) -> None:
        """Nothing."""

    def warning(self, event: str, **facts: object) -> None:
        """Nothing."""

    def error(self, event: str, **facts: object) -> None:
        """Nothing."""
