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

    def info(self, event: str, **facts: object) -> None:
        """Nothing."""

    def warning(self, event: str, **facts: object) -> None:
        """Nothing."""

    def error(self, event: str, **facts: object) -> None:
        """Nothing."""
