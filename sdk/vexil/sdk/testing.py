"""A client for tests: flags set in code, the same calls, no threads, no files, no network.

The one idea: a service under test asks as it always does, and the test says what it gets. Flags go through the
evaluation of production, so rules and types behave as they will.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from vexil.sdk.client.adapters.system import now_s
from vexil.sdk.client.changed_keys import changed_keys
from vexil.sdk.client.reading import Function, Functions, NotReady, Reader, View
from vexil.sdk.client.status import Status
from vexil.sdk.codes import ERROR
from vexil.sdk.errors import ClientMisconfigured
from vexil.sdk.evaluation import ABSENT, Evaluation
from vexil.sdk.model import FlagDocument, FlagSet, SegmentDocument
from vexil.sdk.shapes import FlagType

T = TypeVar("T")
VARIANT = "value"
"""What the one variant of a flag is called that was set to a value."""

_TYPES: dict[type, FlagType] = {
    bool: "boolean",
    str: "string",
    int: "integer",
    float: "float",
    dict: "object",
}


class StaticClient(Reader):
    """Answers from flags that a test sets: ``StaticClient({"checkout.new-flow": True, "limit": 5})``.

    ``ready=False``: like a client that has not reached anybody yet. For one thread.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        ready: bool = True,
        now: Callable[[], float] = now_s,
    ) -> None:
        self._now = now
        self._flag_set = FlagSet()
        self._documents: dict[str, FlagDocument] = {}
        self._segments: dict[str, SegmentDocument] = {}
        self._failing: dict[str, Evaluation] = {}
        self._ready = ready
        self._stale_since: float | None = None
        self._number = 0
        self._on_change: list[Callable[[frozenset[str]], object]] = []
        self._on_status: list[Callable[[Status], object]] = []
        self._functions: Functions = NotReady()
        self._put({key: _document(value) for key, value in (values or {}).items()})

    # -- what a test says

    def set(self, key: str, value: Any) -> None:
        """Flag ``key`` gives ``value`` to everybody. Raises ClientMisconfigured for what no flag can be."""
        self._put({key: _document(value)})

    def set_document(self, key: str, document: FlagDocument) -> None:
        """Flag ``key`` is ``document``, with its rules and all, as ``/sdk/v1/flags`` has it."""
        self._put({key: document})

    def set_segment(self, key: str, document: SegmentDocument) -> None:
        """Segment ``key`` is ``document``."""
        self._segments = {**self._segments, key: document}
        self._put({})

    def fail(self, key: str, code: str, details: str = "as the test says") -> None:
        """Flag ``key`` cannot be evaluated: callers get their default with the error ``code``."""
        self._failing[key] = Evaluation(key, ABSENT, "", ERROR, code, details)
        self._put({})

    def remove(self, key: str) -> None:
        """There is no flag ``key``."""
        self._failing.pop(key, None)
        self._documents = {name: each for name, each in self._documents.items() if name != key}
        self._put({})

    def set_status(self, *, ready: bool = True, stale_since: float | None = None) -> None:
        """Say so in ``status``, and to whoever wants to know."""
        self._ready, self._stale_since = ready, stale_since
        self._put({})
        for callback in tuple(self._on_status):
            callback(self.status)

    # -- what a service asks, beside flags

    @property
    def flag_set(self) -> FlagSet:
        """The present set; it is never changed, only replaced."""
        return self._flag_set

    @property
    def status(self) -> Status:
        """As the test says."""
        return Status(
            ready=self._ready,
            source="node" if self._ready else "none",
            connection="stream" if self._ready else "starting",
            stale_since=self._stale_since,
            version=self._flag_set.version,
        )

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether it is ready; nothing is waited for."""
        return self._ready

    def catch_up(self, token: str, timeout_s: float) -> bool:
        """Whether it is ready: what a test has set is there at once."""
        return self._ready

    def view(self, *, token: str | None = None, timeout_s: float = 1.0) -> View:
        """The present set for several questions at one moment."""
        return View(self._functions, self._now, version=self._flag_set.version, caught_up=self._ready)

    def on_change(self, callback: Callable[[frozenset[str]], object]) -> Callable[[], None]:
        """Call ``callback(keys)`` within each change, in the thread of the test; the result ends that."""
        return _add(self._on_change, callback)

    def on_status(self, callback: Callable[[Status], object]) -> Callable[[], None]:
        """Call ``callback(status)`` within ``set_status``; the result ends that."""
        return _add(self._on_status, callback)

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, documents: Mapping[str, FlagDocument]) -> None:
        for key in documents:
            self._failing.pop(key, None)
        self._number += 1
        self._documents = {**self._documents, **documents}
        before = self._flag_set
        self._flag_set = FlagSet(flags=self._documents, segments=self._segments, version=str(self._number))
        functions: Functions = self._flag_set.functions if self._ready else NotReady()
        self._functions = _Failing(self._failing, functions) if self._failing else functions
        keys = changed_keys(before, self._flag_set)
        for callback in tuple(self._on_change) if keys else ():
            callback(keys)


class _Failing(dict[str, Function]):
    """Functions of which some fail."""

    def __init__(self, failing: Mapping[str, Evaluation], inner: Functions) -> None:
        super().__init__({key: _constant(answer) for key, answer in failing.items()})
        self._inner = inner

    def __missing__(self, key: str) -> Function:
        return self._inner[key]


def _constant(answer: Evaluation) -> Function:
    return lambda _context, _now: answer


def _document(value: object) -> FlagDocument:
    flag_type = _TYPES.get(type(value))
    if flag_type is None:
        raise ClientMisconfigured(f"no flag has a value of type {type(value).__name__}")
    return {
        "type": flag_type,
        "enabled": True,
        "off_variant": None,
        "default": VARIANT,
        "variants": {VARIANT: value},
        "rules": [],
        "targeting": None,
        "prerequisites": [],
        "metadata": {},
        "client_visible": False,
    }


def _add(callbacks: list[T], callback: T) -> Callable[[], None]:
    callbacks.append(callback)

    def remove() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    return remove
