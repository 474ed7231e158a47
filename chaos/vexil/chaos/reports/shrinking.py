"""Makes a failing plan small: whatever can be taken out of it while it still violates the same invariant, goes.

Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002): parts are taken out
in large pieces first and in ever smaller ones, and what is left fails without any single one of them. A plan can be
shrunk because each part of it draws from a stream of its own: taking one out leaves the others as they were.

The order of trials is fixed: the same plan is made small in the same way every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec

from vexil.chaos.reports import smaller
from vexil.chaos.run.plan import Knobs, Plan
from vexil.chaos.run.plan_check import flaw_of
from vexil.chaos.world.simulated_cluster import ClusterFaults

TRIALS_MAX: Final = 3_000
ROUNDS_MAX: Final = 20
T = TypeVar("T")

Fails = Callable[[Plan], "str | None"]
"""The invariant that a run of the plan violates first, or None: `vexil.chaos.reports.replay.violated`."""


class NotFailing(Exception):
    """The plan that is to be shrunk violates nothing."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a plan is."""

    faults: int
    operations: int
    clients: int
    nodes: int
    settings: int
    """Of world and knobs, that are not as they are by default."""
    work_s: float

    def __str__(self) -> str:
        return (
            f"{self.faults} faults, {self.operations} operations, {self.clients} clients, {self.nodes} nodes, "
            f"{self.settings} settings, {self.work_s:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come."""

    trials: int
    plan: Plan
    """The smallest that still fails, so far."""
    size: Size


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left."""

    plan: Plan
    invariant: str
    trials: int
    complete: bool
    """Nothing more can be taken out; else a bound was reached."""
    before: Size
    after: Size
    raised: tuple[str, ...] = ()
    """Errors that trials ended with, each once: no reductions, and perhaps flaws of the harness."""


class _Spent(Exception):
    pass


def shrink(
    plan: Plan,
    fails: Fails,
    *,
    now_s: Callable[[], float] = lambda: 0.0,
    time_limit_s: float = float("inf"),
    trials_max: int = TRIALS_MAX,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Shrunk:
    """The smallest plan found that violates what ``plan`` violates.

    Ends after ``trials_max`` runs or, by the caller's clock ``now_s``, before the first run that would begin after
    ``time_limit_s``. ``progress`` is told of each plan that is smaller. Raises NotFailing.
    """
    invariant = fails(plan)
    if invariant is None:
        raise NotFailing(str(plan))
    shrinking = _Shrinking(plan, invariant, fails, progress)
    shrinking.bound(trials_max, now_s, now_s() + time_limit_s)
    complete = shrinking.run()
    return Shrunk(
        shrinking.best,
        invariant,
        shrinking.trials,
        complete,
        size_of(plan),
        size_of(shrinking.best),
        tuple(shrinking.raised),
    )


def size_of(plan: Plan) -> Size:
    """How large ``plan`` is."""
    settings = _unlike(plan.world, ClusterFaults()) + _unlike(plan.knobs, Knobs())
    return Size(
        len(plan.faults), len(plan.operations), len(plan.clients), len(plan.nodes), settings, plan.work_s
    )


def _unlike(value: Any, plain: Any) -> int:
    if is_dataclass(value):
        return sum(_unlike(getattr(value, f.name), getattr(plain, f.name)) for f in fields(value))
    if isinstance(value, Mapping):
        return sum(_unlike(inner, type(inner)()) for inner in value.values())
    return int(value != plain)


def _digest(plan: Plan) -> bytes:
    return sha256(msgspec.json.encode(plan)).digest()


class _Shrinking:
    def __init__(
        self, plan: Plan, invariant: str, fails: Fails, progress: Callable[[Progress], None]
    ) -> None:
        self.best = plan
        self.trials = 1
        self.raised: dict[str, None] = {}
        self._invariant = invariant
        self._fails = fails
        self._progress = progress
        self._tried = {_digest(plan)}

    def bound(self, trials_max: int, now_s: Callable[[], float], until_s: float) -> None:
        self._trials_max, self._now_s, self._until_s = trials_max, now_s, until_s

    def run(self) -> bool:
        """Whether it came to an end by itself."""
        try:
            for _ in range(ROUNDS_MAX):
                before = self.best
                self._prefix()
                self._without(self.best.faults, lambda left: replace(self.best, faults=left))
                self._without(self.best.operations, lambda left: replace(self.best, operations=left))
                self._without(self.best.clients, lambda left: smaller.with_clients(self.best, left))
                self._without(self.best.services, lambda left: replace(self.best, services=left))
                self._nodes()
                self._settings()
                self._time()
                if self.best == before:
                    return True
        except _Spent:
            pass
        return False

    def _still_fails(self, plan: Plan) -> bool:
        """Try ``plan``, unless it was tried or cannot be run; if it fails in the same way, it is the best one."""
        if plan == self.best:
            return True
        digest = _digest(plan)
        if digest in self._tried or flaw_of(plan):
            return False
        self._tried.add(digest)
        if self.trials >= self._trials_max or self._now_s() >= self._until_s:
            raise _Spent
        self.trials += 1
        try:
            found = self._fails(plan)
        except Exception as error:  # noqa: BLE001 - reported with the result; another plan may run well
            self.raised[f"{type(error).__name__}: {error}"] = None
            return False
        if found != self._invariant:
            return False
        self.best = plan
        self._progress(Progress(self.trials, plan, size_of(plan)))
        return True

    def _first_that_fails(self, plans: Iterable[Plan]) -> bool:
        return any(map(self._still_fails, plans))

    # -- what is tried

    def _prefix(self) -> None:
        """The end of it goes: of all moments the earliest that the plan can end at."""
        moments = smaller.moments(self.best)
        low, high = 0, len(moments)
        while low < high:
            middle = (low + high) // 2
            if self._still_fails(smaller.until(self.best, moments[:middle])):
                high = middle
            else:
                low = middle + 1

    def _without(self, items: tuple[T, ...], rebuilt: Callable[[tuple[T, ...]], Plan]) -> None:
        """Delta debugging by complements: pieces of halving size are taken out, front to back."""
        size = len(items)
        while size:
            at = 0
            while at < len(items):
                left = items[:at] + items[at + size :]
                if self._still_fails(rebuilt(left)):
                    items = left
                else:
                    at += size
            size //= 2

    def _nodes(self) -> None:
        for region in reversed(tuple(self.best.layout)):
            self._first_that_fails(smaller.without_region(self.best, region))
        for node in reversed(self.best.nodes):
            self._still_fails(smaller.without_node(self.best, node))

    def _settings(self) -> None:
        self._still_fails(replace(self.best, embedded=False))
        self._plain(self.best.world, ClusterFaults(), lambda world: replace(self.best, world=world))
        self._plain(self.best.knobs, Knobs(), lambda knobs: replace(self.best, knobs=knobs))
        for client in self.best.clients:
            plain = replace(client, roaming=0.0, impatient=0.0, demanding=0.0)
            self._plain(client, plain, lambda found: smaller.with_client(self.best, found))

    def _plain(self, value: Any, plain: Any, rebuilt: Callable[[Any], Plan]) -> Any:
        """Give ``value`` up for ``plain`` as a whole, else its parts one by one. Returns what it is then."""
        if value == plain or self._still_fails(rebuilt(plain)):
            return plain
        if is_dataclass(value) and not isinstance(value, type):
            for field in fields(value):

                def with_part(part: Any, whole: Any = value, name: str = field.name) -> Plan:
                    return rebuilt(replace(whole, **{name: part}))

                part = self._plain(getattr(value, field.name), getattr(plain, field.name), with_part)
                value = replace(value, **{field.name: part})
        elif isinstance(value, Mapping):
            for key in sorted(value):
                left = {name: inner for name, inner in value.items() if name != key}
                if self._still_fails(rebuilt(left)):
                    value = left
                    continue

                def with_entry(entry: Any, whole: Any = value, name: Any = key) -> Plan:
                    return rebuilt({**whole, name: entry})

                value = {**value, key: self._plain(value[key], type(value[key])(), with_entry)}
        return value

    def _time(self) -> None:
        self._first_that_fails(smaller.sooner_over(self.best))
        for number in [fault.number for fault in self.best.faults]:
            self._first_that_fails(smaller.shorter(self.best, number))
            self._first_that_fails(smaller.gentler(self.best, number))
        for index in range(len(smaller.moments(self.best))):
            self._first_that_fails(smaller.earlier_from(self.best, index))
        self._first_that_fails(smaller.rounded(self.best))
