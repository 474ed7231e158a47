"""What faults cost, measured: availability, staleness and recovery, for each kind of fault.

Nothing here judges. The window of a fault goes from when it struck until it was undone, and until every process that
it took down served again. What happens while several faults last is counted for each of their kinds.

- Availability: of the requests that clients began in the window and that depend on the node, the share that it answered
  as asked. Refusals on a request's own merits (there is no such flag) are left out: any node would have refused.
- Staleness: of a change that was acknowledged in the window, how long from then until a node had it; one duration for
  each node that served at that moment, unless it ended before.
- Recovery: from the end of the window until every node that serves has everything that had been acknowledged by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.reports.sketch import Sketch, sketch_of
from vexil.chaos.run.history import History, Life, Window, requests_of
from vexil.chaos.run.plan import Plan
from vexil.crdt.change import Dot

NOT_SERVED: Final = frozenset(
    (
        "",
        "none",
        "durability.unavailable",
        "limit.streams",
        "node.not_ready",
        "rate.limited",
        "stale",
        "token.behind",
        "write.indeterminate",
    )
)
"""Answers that are none, or say that this node cannot, now."""
SERVED: Final = "ok"
TAKES_DOWN: Final = frozenset(
    (
        "clone",
        "copied_machine",
        "crash",
        "crash_at_point",
        "crash_at_step",
        "disk_lost",
        "disk_old_copy",
        "evict",
        "evict_unreachable",
        "restart_as_next",
        "stop",
    )
)
"""Kinds that end a process at their first place, and whose window is open until one serves there again."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many."""

    served: int = 0
    asked: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(self.served + other.served, self.asked + other.asked)

    @property
    def percent(self) -> float | None:
        """None if nobody asked."""
        return 100 * self.served / self.asked if self.asked else None


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind of fault cost."""

    windows: int = 0
    near: Share = field(default_factory=Share)
    """Requests to nodes of the regions that the fault names; of all, if it names none."""
    elsewhere: Share = field(default_factory=Share)
    staleness: Sketch = field(default_factory=Sketch)
    recovery: Sketch = field(default_factory=Sketch)
    unrecovered: int = 0
    """Windows that had no recovery before the run ended."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.windows + other.windows,
            self.near + other.near,
            self.elsewhere + other.elsewhere,
            self.staleness + other.staleness,
            self.recovery + other.recovery,
            self.unrecovered + other.unrecovered,
        )


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured, in one run or in many."""

    kinds: Mapping[str, Cost] = field(default_factory=dict)
    outside: Cost = field(default_factory=Cost)
    """While nothing was broken. It has no windows, and recovers from nothing."""

    def __add__(self, other: Measures) -> Measures:
        names = sorted({*self.kinds, *other.kinds})
        both = {name: self.kinds.get(name, Cost()) + other.kinds.get(name, Cost()) for name in names}
        return Measures(both, self.outside + other.outside)


class _Span(NamedTuple):
    """The window of a fault, as far as its effect."""

    kind: str
    regions: frozenset[str]
    """Empty: all of them."""
    began_s: float
    ended_s: float
    """Infinite: it never ended."""


class _Request(NamedTuple):
    region: str
    """Of the node that was asked; of the client, if it found none to ask."""
    began_s: float
    answer: str


class _Acknowledged(NamedTuple):
    dot: Dot
    at_s: float


def measure(plan: Plan, history: History) -> Measures:
    """Measure one run."""
    lives: dict[str, list[Life]] = {}
    for life in history.lives:
        lives.setdefault(life.slot, []).append(life)
    spans = [_span(window, lives) for window in history.windows]
    changes = list(_acknowledged(history))
    regions = {slot: each[0].region for slot, each in lives.items()}
    homes = {client.name: client.region for client in plan.clients}
    shares = _availability(list(_requests(history, regions, homes)), spans)
    staleness = _staleness(history, spans, lives, changes)
    recovery = _recovery(history, spans, lives, changes)
    costs = {}
    for kind in ("", *sorted({span.kind for span in spans})):
        durations_s = recovery.get(kind, [])
        costs[kind] = Cost(
            sum(span.kind == kind for span in spans),
            shares.get((kind, True), Share()),
            shares.get((kind, False), Share()),
            sketch_of(staleness.get(kind, [])),
            sketch_of([duration_s for duration_s in durations_s if duration_s < inf]),
            durations_s.count(inf),
        )
    outside = costs.pop("")
    return Measures(costs, outside)


def _span(window: Window, lives: Mapping[str, list[Life]]) -> _Span:
    fault, began_s = window.fault, window.began_s
    ended_s = inf if window.ended_s is None else window.ended_s
    regions = frozenset(lives[place][0].region if place in lives else place for place in fault.places)
    if fault.kind in TAKES_DOWN:
        each = [(_serving(life), life) for life in lives.get(fault.places[0], ())]
        if not any(ready_s <= began_s < over_s for (ready_s, over_s), _ in each):
            # It strikes when a planned stop begins, and is noted when that is through.
            ends = [life.ended_s for _, life in each if life.ended_s is not None and life.ended_s <= began_s]
            began_s = max(ends, default=began_s)
        if not any(ready_s <= ended_s < over_s for (ready_s, over_s), _ in each):
            ended_s = min((ready_s for (ready_s, _), _ in each if ready_s > ended_s), default=inf)
    return _Span(fault.kind, regions, began_s, ended_s)


def _acknowledged(history: History) -> Iterator[_Acknowledged]:
    destroyed = history.destroyed.get(PROJECT, set())
    for write in history.writes:
        if write.acknowledged_s is not None and write.dot is not None and write.dot not in destroyed:
            yield _Acknowledged(write.dot, write.acknowledged_s)


def _kinds_at(spans: list[_Span], at_s: float) -> set[str]:
    """Kinds of faults that last at that moment; of none if there is none, named ""."""
    return {span.kind for span in spans if span.began_s <= at_s < span.ended_s} or {""}


def _availability(requests: list[_Request], spans: list[_Span]) -> dict[tuple[str, bool], Share]:
    """By kind, and whether the node that was asked is in a region of it. Everything is near to no fault."""
    counts: dict[tuple[str, bool], Share] = {}
    for region, began_s, answer in requests:
        if answer != SERVED and answer not in NOT_SERVED:
            continue
        one = Share(int(answer == SERVED), 1)
        near: dict[str, bool] = {}
        for span in spans:
            if span.began_s <= began_s < span.ended_s:
                touched = not span.regions or region in span.regions
                near[span.kind] = near.get(span.kind, False) or touched
        for key in (near or {"": True}).items():
            counts[key] = counts.get(key, Share()) + one
    return counts


def _requests(history: History, regions: Mapping[str, str], homes: Mapping[str, str]) -> Iterator[_Request]:
    """Everything that clients asked for and that was over before the run."""

    def request(slot: str, client: str, began_s: float, answer: str) -> _Request:
        return _Request(regions.get(slot, homes.get(client, "")), began_s, answer)

    for write in history.writes:
        for attempt in write.attempts:
            if history.over_s(attempt) is not None:
                yield request(attempt.slot, write.client, attempt.began_s, attempt.answer)
    for rows in requests_of(history.reads):
        yield request(rows[0].slot, rows[0].client, rows[0].began_s, rows[0].answer)


def _serving(life: Life) -> tuple[float, float]:
    """From when until when; nothing if it never served."""
    if life.ready_s is None:
        return inf, inf
    return life.ready_s, inf if life.ended_s is None else life.ended_s


def _staleness(
    history: History, spans: list[_Span], lives: Mapping[str, list[Life]], changes: list[_Acknowledged]
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for change in changes:
        kinds = _kinds_at(spans, change.at_s)
        had_s = history.applied_s.get((PROJECT, change.dot), {})
        for slot, each in lives.items():
            for began_s, ended_s in map(_serving, each):
                if began_s <= change.at_s < ended_s and had_s.get(slot, inf) < ended_s:
                    for kind in kinds:
                        found.setdefault(kind, []).append(max(0.0, had_s[slot] - change.at_s))
    return found


def _recovery(
    history: History, spans: list[_Span], lives: Mapping[str, list[Life]], changes: list[_Acknowledged]
) -> dict[str, list[float]]:
    """By kind; infinite where nothing recovered before the end of the run."""
    lacks = sorted(_lacks(history, lives, changes))
    found: dict[str, list[float]] = {}
    for span in spans:
        at_s = span.ended_s
        for began_s, ended_s, acknowledged_s in lacks:
            if began_s > at_s:
                break
            if acknowledged_s <= span.ended_s:
                at_s = max(at_s, ended_s)
        found.setdefault(span.kind, []).append(at_s - span.ended_s if at_s < inf else inf)
    return found


def _lacks(
    history: History, lives: Mapping[str, list[Life]], changes: list[_Acknowledged]
) -> Iterator[tuple[float, float, float]]:
    """From when until when a node served without an acknowledged change, and when that was acknowledged."""
    absences: dict[tuple[Dot, str], list[tuple[float, float]]] = {}
    for absence in history.absences:
        if absence.project == PROJECT:
            until_s = inf if absence.until_s is None else absence.until_s
            absences.setdefault((absence.dot, absence.slot), []).append((absence.since_s, until_s))
    for change in changes:
        had_s = history.applied_s.get((PROJECT, change.dot), {})
        for slot, each in lives.items():
            without = [(0.0, had_s.get(slot, inf)), *absences.get((change.dot, slot), ())]
            for ready_s, ended_s in map(_serving, each):
                for since_s, until_s in without:
                    began_s, over_s = max(ready_s, since_s, change.at_s), min(ended_s, until_s)
                    if began_s < over_s:
                        yield began_s, over_s, change.at_s


# -- as text

NOTHING: Final = "\N{EN DASH}"
HEADINGS: Final = (
    "fault", "windows", "near", "elsewhere", "stale p50", "p99", "max", "recovery p50", "p99", "max", "none",
)  # fmt: skip


def rows(measures: Measures) -> list[tuple[str, ...]]:
    """One row a kind, in the order of `HEADINGS`; what nobody measured is `NOTHING`, never 0."""
    return [
        _row("no fault", measures.outside),
        *(_row(kind, cost) for kind, cost in sorted(measures.kinds.items())),
    ]


def _row(name: str, cost: Cost) -> tuple[str, ...]:
    return (
        name,
        str(cost.windows) if cost.windows else NOTHING,
        _percent(cost.near),
        _percent(cost.elsewhere),
        *_seconds(cost.staleness),
        *_seconds(cost.recovery),
        str(cost.unrecovered) if cost.windows else NOTHING,
    )


def _percent(share: Share) -> str:
    return NOTHING if share.percent is None else f"{share.percent:.1f} %"


def _seconds(sketch: Sketch) -> tuple[str, ...]:
    if not len(sketch):
        return (NOTHING,) * 3
    found = (sketch.quantile_s(0.5), sketch.quantile_s(0.99), sketch.longest_s)
    return tuple(NOTHING if value is None else f"{value:.2f} s" for value in found)


def table(measures: Measures) -> str:
    """All of it for people: availability near to the faults and elsewhere, staleness, recovery."""
    lines = [HEADINGS, *rows(measures)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths) for line in lines) + "\n"


def _line(cells: Iterable[str], widths: list[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join((first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others))).rstrip()
