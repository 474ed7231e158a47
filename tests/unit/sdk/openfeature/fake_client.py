"""A client that is as a test says: its flags, its status, and when it tells of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.unit.sdk.documents import NOW_S
from vexil.sdk.client.reading import Function, NotReady, Reader
from vexil.sdk.client.status import Status
from vexil.sdk.evaluation import evaluate
from vexil.sdk.model import FlagSet

HEALTHY = Status(ready=True, source="node", connection="stream", stale_since=None, url="http://eu-1.example")
STALE = replace(HEALTHY, connection="retrying", stale_since=1_800_000_000.0, error="no node answers")
FROM_DISK = replace(STALE, source="disk", url=None)
NOT_READY = Status(
    ready=False, source="none", connection="retrying", stale_since=None, error="no node answers"
)


class FakeClient(Reader):
    """Has ``flags`` unless ``status`` says that it is not ready."""

    def __init__(self, flags: dict[str, Any] | None = None, status: Status = HEALTHY, **parts: Any) -> None:
        self._now = lambda: NOW_S
        self._functions = _Evaluated(FlagSet(flags=flags, **parts)) if status.ready else NotReady()
        self.status = status
        self.closed = False
        self.waited_s: float | None = None
        self.before_ready: Callable[[], None] = lambda: None
        """Called while ``wait_ready`` waits."""
        self.on_changes: list[Callable[[frozenset[str]], object]] = []
        self.on_statuses: list[Callable[[Status], object]] = []

    def become(self, status: Status) -> None:
        """Have another status, and tell of it."""
        self.status = status
        for callback in tuple(self.on_statuses):
            callback(status)

    def change(self, *keys: str) -> None:
        """Tell that flags may answer otherwise."""
        for callback in tuple(self.on_changes):
            callback(frozenset(keys))

    def wait_ready(self, timeout_s: float) -> bool:
        self.waited_s = timeout_s
        self.before_ready()
        return self.status.ready

    def on_change(self, callback: Callable[[frozenset[str]], object]) -> Callable[[], None]:
        self.on_changes.append(callback)
        return lambda: self.on_changes.remove(callback)

    def on_status(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        self.on_statuses.append(callback)
        return lambda: self.on_statuses.remove(callback)

    def close(self) -> None:
        self.closed = True


class _Evaluated(dict[str, Function]):
    def __init__(self, flag_set: FlagSet) -> None:
        super().__init__()
        self._flag_set = flag_set

    def __missing__(self, key: str) -> Function:
        return lambda context, now: evaluate(self._flag_set, key, context, now_s=now())
