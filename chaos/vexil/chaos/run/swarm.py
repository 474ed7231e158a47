"""From a seed to a plan: how large, how hard, which faults at all.

Every run leaves some faults out and exaggerates others (swarm testing: runs that each lack some find more than runs
that have all). All odds are the numbers written here and beside the kinds of faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from random import Random
from typing import Final

from vexil.chaos import faults
from vexil.chaos.clients import operations
from vexil.chaos.faults.fault import KINDS, Ground
from vexil.chaos.run.plan import Client, Fault, Knobs, Plan, Service
from vexil.chaos.run.profiles import PROFILES, Profile
from vexil.chaos.world.determinism import Streams
from vexil.chaos.world.simulated_clock import YEAR_MS, ClockFaults
from vexil.chaos.world.simulated_cluster import ClusterFaults
from vexil.chaos.world.simulated_disk import DiskFaults
from vexil.chaos.world.simulated_network import NetworkFaults
from vexil.chaos.world.simulated_store import StoreFaults

assert faults.__doc__, "the kinds register themselves"
LAYOUTS: Final[tuple[tuple[float, dict[str, int]], ...]] = (
    (1, {"eu": 1, "us": 1}),
    (2, {"eu": 2, "us": 1}),
    (3, {"eu": 1, "us": 1, "ap": 1}),
    (2, {"eu": 2, "us": 2}),
    (1, {"eu": 3, "us": 1}),
    (1, {"eu": 2, "us": 2, "ap": 2}),
)
"""How often each is drawn, and its regions with their nodes."""
FULL_SIZE: Final = 0.02
"""How often a run is as large as `FULL_LAYOUT`, `FULL_S` and `FULL_OPERATIONS` say."""
FULL_LAYOUT: Final[dict[str, int]] = {"eu": 2, "us": 2, "ap": 2}
FULL_S: Final = 60.0
FULL_OPERATIONS: Final = 300
BYTES_PER_S: Final = (400_000.0, 1_000_000.0)
"""Of a narrow link: a full page takes long, and still less than the time-out of a call."""
WORK_S: Final = (8.0, 8.0, 12.0, 12.0, 20.0, 40.0)
OPERATIONS_PER_S: Final = (1.0, 3.0, 5.0)
MIXES: Final[Mapping[str, tuple[float, Mapping[str, int]]]] = {
    "admins": (1.5, {"admin": 1}),
    "sessions": (3, {"session": 2}),
    "readers": (3, {"admin": 1, "reader": 2}),
    "scripts": (1, {"script": 1}),
    "everybody": (3, {"admin": 1, "session": 1, "reader": 1, "script": 1}),
}
"""How often a mix of clients is drawn, and how many of each role are then in each region."""
SERVED: Final = 0.2
"""How often there are services with the SDK."""
SERVICES: Final = (1, 3)
"""How many, at least and at most; unless they are a crowd."""
CROWD: Final = 0.3
"""How often those that there are, are so many in one region as have to be spread when they lose their node."""
CROWD_SERVICES: Final = 24
CROWD_S: Final = 12.0
"""How long it stays. What it would see later costs much, and is no more than the few see that go on."""
CROWD_STAYS: Final = 2
"""So many go on, to the end of the run."""
TOKEN_WAITS_MS: Final = (0.0, 500.0, 500.0, 1_500.0)
LAST_FAULT: Final = 0.95
"""Share of the work after which no more faults begin: they could not strike in time."""
READ_FAILS: Final = (0.05, 0.2)
"""A start reads again and again: with more of them, whoever has died once never comes back."""
STRIKES: Final = 4.0
"""So often a continuous fault strikes a run, by expectation, at the least: so hardly any that is enabled never does."""
SURE_MOST: Final = 0.25
"""No probability is raised above it for that."""
REQUESTS_PER_S: Final = 1.0
ANSWERS_PER_S: Final = 0.4
STORE_CALLS_PER_S: Final = 1.2
STORE_WRITES_PER_S: Final = 0.8
SYNCS_PER_S: Final = 0.6
"""What a node does in a run in which little happens."""


def plan(seed: int) -> Plan:
    """The plan of ``seed``. Every part of it comes from a stream of its own."""
    streams = Streams(seed)
    size = streams.stream("plan", "size")
    name = size.choices(list(PROFILES), [profile.odds for profile in PROFILES.values()])[0]
    profile = PROFILES[name]
    layout = size.choices([layout for _, layout in LAYOUTS], [odds for odds, _ in LAYOUTS])[0]
    work_s = size.choice(WORK_S)
    count = int(work_s * size.choice(OPERATIONS_PER_S) * profile.load)
    if size.random() < FULL_SIZE:
        layout, work_s, count = FULL_LAYOUT, FULL_S, FULL_OPERATIONS
    embedded = size.random() < profile.embedded
    names = tuple(f"{region}-{n}" for region, count in layout.items() for n in range(1, count + 1))
    clients = _clients(streams.stream("plan", "clients"), layout)
    return Plan(
        seed=seed,
        layout=layout,
        profile=name,
        embedded=embedded,
        work_s=work_s,
        world=_world(streams.stream("plan", "world"), profile, names, work_s),
        knobs=_knobs(streams.stream("plan", "knobs")),
        faults=_faults(streams.stream("plan", "faults"), profile, Ground(layout, names, embedded, work_s)),
        clients=clients,
        operations=operations.draw(streams.stream("plan", "load"), clients, count=count, work_s=work_s),
        services=_services(streams.stream("plan", "services"), layout, work_s),
    )


def _clients(rng: Random, layout: Mapping[str, int]) -> tuple[Client, ...]:
    """Who there is in each region: a mix of roles; never nobody who writes."""
    roaming, impatient = rng.choice((0.0, 0.3)), rng.choice((0.0, 0.0, 0.15, 0.3))
    mix = rng.choices(list(MIXES), [odds for odds, _ in MIXES.values()])[0]
    counts = dict(MIXES[mix][1])
    if sum(layout.values()) < 3:
        counts["admin"] = counts.get("admin", 0) + 1
    return tuple(
        Client(
            f"{region}-{role}-{n}",
            region,
            role,
            # A session is on the move.
            max(roaming, 0.5) if role == "session" else roaming,
            impatient,
            token_wait_ms=rng.choice(TOKEN_WAITS_MS),
        )
        for region in layout
        for role, count in counts.items()
        for n in range(count)
    )


def _services(rng: Random, layout: Mapping[str, int], work_s: float) -> tuple[Service, ...]:
    """In most runs none; now and then a few of all kinds, or a crowd of one kind with one node that all prefer."""
    if rng.random() >= SERVED:
        return ()
    if rng.random() < CROWD:
        region, environment = rng.choice(list(layout)), rng.choice(operations.ENVIRONMENTS)
        urls = _urls(layout, region, 0)
        return tuple(
            Service(
                f"crowd-{n}",
                region,
                environment,
                urls,
                leaves_s=0.0 if n <= CROWD_STAYS else min(work_s, CROWD_S),
            )
            for n in range(1, CROWD_SERVICES + 1)
        )
    return tuple(
        Service(
            f"service-{n}",
            region := rng.choice(list(layout)),
            rng.choice(operations.ENVIRONMENTS),
            _urls(layout, region, rng.randrange(layout[region])),
            polls=rng.random() < 0.2,
            keeps=rng.random() < 0.5,
            restarts=tuple(sorted(rng.uniform(0, work_s) for _ in range(rng.choice((0, 0, 1, 2))))),
        )
        for n in range(1, rng.randint(*SERVICES) + 1)
    )


def _urls(layout: Mapping[str, int], region: str, first: int) -> tuple[str, ...]:
    """The nodes of ``region`` in a circle from ``first``, behind them those of the others."""
    near = [f"{region}-{1 + (first + n) % layout[region]}" for n in range(layout[region])]
    far = [f"{other}-{n}" for other in layout if other != region for n in range(1, layout[other] + 1)]
    return (*near, *far)


def _knobs(rng: Random) -> Knobs:
    """Most limits are as they are in production; with the others few things are many."""
    return Knobs(
        page_bytes=rng.choice((0, 0, 0, 4_000, 30_000)),
        snapshot_page_bytes=rng.choice((0, 0, 400, 4_000)),
        garbage_interval_ms=rng.choice((300, 1_000, 1_000, 3_000)),
        fold_batch_rows=rng.choice((0, 0, 2, 20)),
    )


def _world(rng: Random, profile: Profile, names: tuple[str, ...], work_s: float) -> ClusterFaults:
    def sometimes(chance: float, least: float, most: float, *, per_s: float = inf) -> float:
        """Nothing, or so much that it is sure to strike what each node does ``per_s`` times a second."""
        sure = min(STRIKES / (per_s * work_s * len(names)), SURE_MOST)
        value = max(rng.uniform(least, most), sure)
        return value if rng.random() < chance * profile.world else 0.0

    network = NetworkFaults(
        remote_ms_max=rng.choice((30.0, 80.0, 250.0)),
        slow=sometimes(0.4, 0.06, 0.15, per_s=REQUESTS_PER_S),
        lose_request=sometimes(0.5, 0.08, 0.2, per_s=REQUESTS_PER_S),
        lose_answer=sometimes(0.5, 0.08, 0.2, per_s=ANSWERS_PER_S),
        duplicate_request=sometimes(0.5, 0.08, 0.25, per_s=REQUESTS_PER_S),
        narrow=0.5 if rng.random() < 0.3 * profile.world else 0.0,
        bytes_per_s=rng.uniform(*BYTES_PER_S),
        truncate=sometimes(0.3, 0.05, 0.12, per_s=REQUESTS_PER_S),
        corrupt=sometimes(0.3, 0.05, 0.12, per_s=REQUESTS_PER_S),
    )
    crash = rng.choice(("loses", "keeps", "tears"))
    disk = DiskFaults(
        sync_ms_max=rng.choice((0.0, 2.0, 30.0)),
        sync_fails=sometimes(0.15, 0.05, 0.1, per_s=SYNCS_PER_S),
        crash_keeps=float(crash == "keeps"),
        crash_tears=float(crash == "tears"),
    )
    store = StoreFaults(
        latency_ms_max=rng.choice((1.0, 10.0)),
        slow=sometimes(0.3, 0.04, 0.08, per_s=STORE_CALLS_PER_S),
        timeout_applied=sometimes(0.3, 0.05, 0.1, per_s=STORE_WRITES_PER_S),
        timeout_lost=sometimes(0.3, 0.05, 0.1, per_s=STORE_WRITES_PER_S),
        timeout_partial=sometimes(0.4, 0.05, 0.15, per_s=STORE_WRITES_PER_S),
        timeout_late=sometimes(0.3, 0.05, 0.1, per_s=STORE_WRITES_PER_S),
        timeout_ms=rng.choice((500.0, 2_000.0)),
        abandoned_lands=sometimes(0.7, 0.3, 1.0),
        read_fails=sometimes(0.2, *READ_FAILS),
    )
    return ClusterFaults(network, disk, store, _clocks(rng, profile, names))


def _clocks(rng: Random, profile: Profile, names: tuple[str, ...]) -> dict[str, ClockFaults]:
    """All are a little off. Sometimes they are coarse, or some are far off, or one is by a year."""
    offsets: tuple[int, ...] = (0, 0, 50, -50)
    if rng.random() < profile.clocks:
        if rng.random() < 0.4:
            return {name: ClockFaults(granularity_ms=500) for name in names}
        offsets = (0, 50, 3_000, -20_000)
    clocks = {
        name: ClockFaults(offset_ms=rng.choice(offsets), drift_ppm=rng.uniform(-200, 200)) for name in names
    }
    if rng.random() < 0.3 * profile.clocks:
        clocks[rng.choice(names)] = ClockFaults(offset_ms=rng.choice((YEAR_MS, -YEAR_MS)))
    return clocks


def _faults(rng: Random, profile: Profile, ground: Ground) -> tuple[Fault, ...]:
    """Faults at random moments, of the kinds that this run has."""
    weights: dict[str, float] = {}
    for name, kind in sorted(KINDS.items()):
        focus = bool({name, kind.family} & profile.focus)
        if rng.random() < (profile.in_focus if focus else kind.enabled * profile.beside):
            weights[name] = kind.weight * (profile.weight if focus else 1.0)
    pause_s = rng.choice(profile.pauses_s)
    drawn: list[Fault] = []
    at_s = rng.expovariate(1 / pause_s)
    while weights and at_s < ground.work_s * LAST_FAULT:
        kind = KINDS[rng.choices(list(weights), list(weights.values()))[0]]
        found = kind.draw(rng, ground)
        before = sum(fault.kind == kind.name for fault in drawn)
        if found is not None:
            latest_s = max(0.0, ground.work_s - kind.needs_s)
            begins_s = at_s if before or at_s <= latest_s else rng.uniform(0, latest_s)
            drawn.append(
                Fault(0, kind.name, begins_s, found.places, found.lasts_s, found.amount, found.point)
            )
        if found is None or before + 1 >= kind.most:
            del weights[kind.name]
        at_s += rng.expovariate(1 / pause_s)
    drawn.sort(key=lambda fault: fault.at_s)
    return tuple(replace(fault, number=number) for number, fault in enumerate(drawn, 1))
