"""The numbers of one node, in the form that Prometheus reads.

Counters and histograms are told as things happen, by methods that neither wait nor raise nor look at a clock. What can
be read off the node's status at any time (backlog, conflicts, how far behind) is not kept twice: it becomes gauges when
somebody asks. One registry per object, so that many nodes fit into one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

LAG_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
REQUEST_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
JOURNAL_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
GARBAGE_BUCKETS_S: Final = (0.001, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)

Status = Callable[[], Mapping[str, Any]]


class Metrics:
    """The registry of one node and what is told to it; an implementation of `vexil.node.telemetry.Telemetry`."""

    def __init__(self) -> None:
        """Everything at zero."""
        # A series of creation times per counter is of no use to us, and it comes from the wall clock.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        own = self.registry
        self._lag = Histogram(
            "vexil_replication_lag_seconds",
            "From the stamp of a received change to its being applied here.",
            ["origin_region"],
            buckets=LAG_BUCKETS_S,
            registry=own,
        )
        self._bytes = Counter(
            "vexil_peer_bytes", "Bytes to and from peers.", ["direction", "kind"], registry=own
        )
        self._call_failures = Counter(
            "vexil_gossip_failures",
            "Calls to peers that brought nothing.",
            ["peer", "method", "reason"],
            registry=own,
        )
        self._applied = Counter(
            "vexil_changes_applied", "Changes journalled and applied.", ["project", "origin"], registry=own
        )
        self._forks = Counter(
            "vexil_fork_alarms", "Incarnations met with two histories.", ["project"], registry=own
        )
        self._divergences = Counter(
            "vexil_divergence_alarms", "Equal vectors with unequal root hashes.", ["project"], registry=own
        )
        self._aside = Counter("vexil_changes_put_aside", "Changes not taken in.", ["reason"], registry=own)
        self._store_failures = Counter(
            "vexil_store_failures", "Calls that the region's store did not take.", ["operation"], registry=own
        )
        self._defects = Counter(
            "vexil_unreadable_objects", "Objects that our own reader failed on.", ["project"], registry=own
        )
        self._suspect_stamps = Counter(
            "vexil_suspect_stamps", "Stamps too far ahead to be believed.", ["origin_region"], registry=own
        )
        self._journal_full = Counter("vexil_journal_full", "Appends that the journal refused.", registry=own)
        self._snapshots = Counter(
            "vexil_snapshots", "Whole states that were asked of a peer.", ["outcome"], registry=own
        )
        self._past_refused = Counter(
            "vexil_past_rows_refused", "Rows from before a snapshot that fit no chain.", registry=own
        )
        self._repairs = Counter(
            "vexil_repairs", "Times that a state was mended by a peer's.", ["project"], registry=own
        )
        self._mended = Counter(
            "vexil_mended_cells", "Cells that a repair has mended.", ["project"], registry=own
        )
        self._collected = Counter(
            "vexil_garbage_collected", "Parts of cells taken out of a state.", ["project"], registry=own
        )
        self._garbage_s = Histogram(
            "vexil_garbage_round_seconds",
            "One round of collecting over a project.",
            buckets=GARBAGE_BUCKETS_S,
            registry=own,
        )
        self._retired = Counter(
            "vexil_incarnations_retired", "Incarnations taken out of the vectors.", ["project"], registry=own
        )
        self._trimmed = Counter(
            "vexil_log_rows_trimmed", "Rows that the log needs no more.", ["project"], registry=own
        )
        self._peer_refusals = Counter(
            "vexil_peer_refusals",
            "Calls of peers or strangers that were refused here.",
            ["code"],
            registry=own,
        )
        self._journal_s = Histogram(
            "vexil_journal_append_seconds", "One append, synced.", buckets=JOURNAL_BUCKETS_S, registry=own
        )
        self._journal_records = Histogram(
            "vexil_journal_append_records", "Changes in one append.", buckets=BATCH_BUCKETS, registry=own
        )
        self._requests = Counter(
            "vexil_requests", "HTTP requests.", ["method", "route", "status"], registry=own
        )
        self._request_s = Histogram(
            "vexil_request_seconds",
            "From the headers of a request to its answer.",
            ["method", "route"],
            buckets=REQUEST_BUCKETS_S,
            registry=own,
        )
        self._refused = Counter(
            "vexil_requests_not_admitted", "HTTP requests that were refused for load.", registry=own
        )
        self._evaluations = Counter(
            "vexil_evaluations", "Flags evaluated for callers.", ["kind"], registry=own
        )
        self._stream_events = Counter(
            "vexil_stream_events", "Events sent on streams.", ["kind", "event"], registry=own
        )
        self._stream_ends = Counter(
            "vexil_stream_ends", "Streams that this node has ended.", ["kind", "reason"], registry=own
        )
        # Looking a child up by its labels costs more than counting; there are few of them.
        self._request_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._lag_children: dict[str, Histogram] = {}
        self._applied_children: dict[tuple[str, bool], Counter] = {}
        self._byte_children: dict[tuple[str, str], Counter] = {}

    def watch(self, status: Status) -> None:
        """Make gauges of ``status()`` (`GET /api/v1/status`) whenever the metrics are read. Call it once."""
        self.registry.register(_StatusGauges(status))

    # -- what the engine tells

    def observe_lag(self, origin_region: str, lag_ms: int) -> None:
        """A change of ``origin_region`` was applied ``lag_ms`` after its stamp."""
        child = self._lag_children.get(origin_region)
        if child is None:
            child = self._lag_children[origin_region] = self._lag.labels(origin_region)
        child.observe(max(0, lag_ms) / 1000)

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """``direction`` is ``sent`` or ``received``; ``kind`` is ``payload`` or ``digest``."""
        child = self._byte_children.get((direction, kind))
        if child is None:
            child = self._byte_children[direction, kind] = self._bytes.labels(direction, kind)
        child.inc(count)

    def count_call_failure(self, peer: str, method: str, reason: str) -> None:
        """A call to a peer brought nothing."""
        self._call_failures.labels(peer, method, reason).inc()

    def observe_journal(self, records: int, seconds: float) -> None:
        """One append of ``records`` changes was synced after ``seconds``."""
        self._journal_records.observe(records)
        self._journal_s.observe(seconds)

    def count_applied(self, project: str, *, local: bool) -> None:
        """A change is in the journal and in memory."""
        child = self._applied_children.get((project, local))
        if child is None:
            child = self._applied.labels(project, "local" if local else "remote")
            self._applied_children[project, local] = child
        child.inc()

    def alarm_fork(self, project: str) -> None:
        """One incarnation has two histories."""
        self._forks.labels(project).inc()

    def alarm_divergence(self, project: str) -> None:
        """Equal vectors, unequal root hashes."""
        self._divergences.labels(project).inc()

    def count_aside(self, reason: str) -> None:
        """A change was kept for a person."""
        self._aside.labels(reason).inc()

    def count_store_failure(self, operation: str) -> None:
        """The region's store did not take a write."""
        self._store_failures.labels(operation).inc()

    def count_defect(self, project: str) -> None:
        """An object could not be read for a reason of ours."""
        self._defects.labels(project).inc()

    def count_clock_suspect(self, region: str) -> None:
        """A received stamp is too far ahead to be believed."""
        self._suspect_stamps.labels(region).inc()

    def count_journal_full(self) -> None:
        """The journal takes nothing."""
        self._journal_full.inc()

    def count_snapshot(self, outcome: str) -> None:
        """A peer's whole state was asked for."""
        self._snapshots.labels(outcome).inc()

    def count_past_refused(self, rows: int) -> None:
        """Rows from before a snapshot are not of the log that they were said to be of."""
        self._past_refused.inc(rows)

    def count_mended(self, project: str, cells: int) -> None:
        """A repair was made."""
        self._repairs.labels(project).inc()
        self._mended.labels(project).inc(cells)

    def count_collected(self, project: str, rows: int) -> None:
        """Garbage was taken out of a state."""
        self._collected.labels(project).inc(rows)

    def observe_garbage_round(self, project: str, seconds: float) -> None:
        """One round of collecting; all projects in one histogram."""
        self._garbage_s.observe(seconds)

    def count_retired(self, project: str, incarnations: int) -> None:
        """Incarnations that have ended were taken out of the vectors."""
        self._retired.labels(project).inc(incarnations)

    def count_trimmed(self, project: str, rows: int) -> None:
        """Rows of the log have gone."""
        self._trimmed.labels(project).inc(rows)

    # -- what the peer port tells

    def count_peer_refusal(self, code: str) -> None:
        """The peer port has refused a call."""
        self._peer_refusals.labels(code).inc()

    # -- what the HTTP interface tells

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. ``route`` is the pattern and never what a caller sent."""
        children = self._request_children.get((method, route, status))
        if children is None:
            children = (
                self._requests.labels(method, route, str(status)),
                self._request_s.labels(method, route),
            )
            self._request_children[method, route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def count_not_admitted(self) -> None:
        """A request was refused before anything was looked at."""
        self._refused.inc()

    def count_evaluations(self, kind: str, count: int) -> None:
        """``count`` flags were evaluated in one request; ``kind`` is ``single`` or ``bulk``."""
        self._evaluations.labels(kind).inc(count)

    def count_stream_event(self, kind: str, event: str) -> None:
        """An event was begun on a stream of ``kind``."""
        self._stream_events.labels(kind, event).inc()

    def count_stream_end(self, kind: str, reason: str) -> None:
        """A stream of ``kind`` has ended, and not because its reader has gone."""
        self._stream_ends.labels(kind, reason).inc()

    def render(self) -> tuple[bytes, str]:
        """The text for Prometheus and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _StatusGauges(Collector):
    """Gauges read off a status; a member that is not there or not a number is left out."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry would ask for a status when it is set up

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        yield _gauge("vexil_ready", "The node has loaded its state.", [((), status.get("ready"))])
        store, clock = _mapping(status.get("store")), _mapping(status.get("clock"))
        yield _gauge(
            "vexil_store_backlog", "Changes that the store does not have.", [((), store.get("backlog"))]
        )
        yield _gauge(
            "vexil_store_damaged_records",
            "Rows of the log that reads have found damaged.",
            [((), store.get("damaged_records"))],
        )
        yield _gauge(
            "vexil_clock_offset_ms", "Own wall clock minus the peers'.", [((), clock.get("offset_ms"))]
        )
        yield _gauge(
            "vexil_clock_suspect", "The own clock is not to be believed.", [((), clock.get("suspect"))]
        )
        returning = _mapping(status.get("returning"))
        for name, help_text in _RETURNING_GAUGES.items():
            yield _gauge(f"vexil_returning_{name}", help_text, [((), returning.get(name))])
        yield from self._projects(_mapping(status.get("projects")))
        stale = status.get("stale_regions")
        yield _gauge("vexil_stale_regions", "Regions that nothing is heard of.", [((), _count(stale))])
        yield _gauge(
            "vexil_store_available",
            "The region's store answers.",
            [((), store.get("state") == "available" if store else None)],
        )
        streams = _mapping(status.get("streams"))
        opened = [((str(kind),), count) for kind, count in _mapping(streams.get("open")).items()]
        yield _gauge("vexil_streams_open", "Streams that are open.", opened, ("kind",))
        yield _gauge("vexil_streams_max", "Streams that may be open.", [((), streams.get("max"))])
        yield from self._garbage(_mapping(status.get("garbage")))
        members = [m for m in status.get("members") or () if isinstance(m, Mapping)]
        yield from self._members(members)

    def _projects(self, projects: Mapping[str, Any]) -> Iterator[Metric]:
        for name, help_text in _PROJECT_GAUGES.items():
            values = [((project,), _count(_mapping(state).get(name))) for project, state in projects.items()]
            yield _gauge(f"vexil_project_{name}", help_text, values, ("project",))

    def _garbage(self, projects: Mapping[str, Any]) -> Iterator[Metric]:
        for name, help_text in _GARBAGE_GAUGES.items():
            values = [((project,), _mapping(state).get(name)) for project, state in projects.items()]
            yield _gauge(f"vexil_garbage_{name}", help_text, values, ("project",))
        blocked = [
            ((project, str(by.get("node"))), by.get("waited_ms"))
            for project, state in projects.items()
            for by in _mapping(state).get("blocked_by") or ()
        ]
        yield _gauge(
            "vexil_garbage_blocked_ms",
            "How long garbage has waited for a member.",
            blocked,
            ("project", "node"),
        )

    def _members(self, members: list[Mapping[str, Any]]) -> Iterator[Metric]:
        for name, help_text in _MEMBER_GAUGES.items():
            values = [((str(m.get("node")), str(m.get("region"))), m.get(name)) for m in members]
            yield _gauge(f"vexil_member_{name}", help_text, values, ("node", "region"))


_PROJECT_GAUGES: Final = {
    "flags": "Flags.",
    "changes": "Changes applied.",
    "conflicts": "Races and defects that nobody has settled.",
    "quarantined": "Objects on the off path because they are broken.",
    "not_exportable": "Flags that cannot be said in flagd's language.",
}
_GARBAGE_GAUGES: Final = {
    "candidates": "Objects that hold garbage, or what may become it.",
    "floor_lag": "Changes above the floor: up to it, garbage has been collected.",
}
_RETURNING_GAUGES: Final = {
    "changes": "Changes of an earlier registration that the cluster lacked.",
    "done": "Of these, the ones that were looked at.",
    "reissued": "Of these, the ones that were issued again.",
    "parked": "Of these, the ones that were kept for a person.",
}
_MEMBER_GAUGES: Final = {
    "last_heard_ms": "Since the member was heard.",
    "behind_changes": "Changes that the member has and this node has not.",
    "behind_ms": "How old the knowledge of the member's writes is.",
}


def _gauge(
    name: str, help_text: str, values: Iterable[tuple[tuple[str, ...], object]], labels: tuple[str, ...] = ()
) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for of, value in values:
        if isinstance(value, int | float):
            family.add_metric(of, float(value))
    return family


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: object) -> object:
    """Status may name what it counts."""
    return len(value) if isinstance(value, list | dict) else value
