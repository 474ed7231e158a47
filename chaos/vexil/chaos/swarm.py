"""From a seed to a configuration: how large, how hard, which faults at all.

Every run leaves some faults out and exaggerates others; the odds are the numbers written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Final

from vexil.chaos.nemesis import NemesisSettings
from vexil.chaos.simulated_clock import YEAR_MS, ClockFaults
from vexil.chaos.simulated_cluster import ClusterFaults
from vexil.chaos.simulated_disk import DiskFaults
from vexil.chaos.simulated_network import NetworkFaults
from vexil.chaos.simulated_store import StoreFaults
from vexil.chaos.workload import WorkloadSettings

LAYOUTS: Final[tuple[dict[str, int], ...]] = (
    {"eu": 1, "us": 1},
    {"eu": 2, "us": 1},
    {"eu": 1, "us": 1, "ap": 1},
    {"eu": 2, "us": 2},
    {"eu": 3, "us": 1},
    {"eu": 2, "us": 2, "ap": 2},
)
BYTES_PER_S: Final = (400_000.0, 1_000_000.0)
"""Of a narrow link: a full page takes long, and still less than the time-out of a call."""
WORK_S: Final = 12.0
LONG_WORK_S: Final = 40.0
"""For a run with an isolated region: long enough for back-offs, suspicions and backlogs to build up."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    layout: dict[str, int]
    work_s: float = WORK_S
    """How long faults and administrators are at it, in virtual time."""
    faults: ClusterFaults = field(default_factory=ClusterFaults)
    nemesis: NemesisSettings = field(default_factory=NemesisSettings)
    workload: WorkloadSettings = field(default_factory=WorkloadSettings)
    junk: bool = False
    """A node of a newer version writes what this version cannot read."""
    latecomer: bool = False
    """One more node joins in the midst of it."""

    def __str__(self) -> str:
        nodes = "+".join(str(count) for count in self.layout.values())
        return f"seed {self.seed}: {nodes} nodes"


def plan(seed: int, rng: Random) -> Plan:
    """The configuration of ``seed``."""
    layout = rng.choice(LAYOUTS)
    names = [f"{region}-{n}" for region, count in layout.items() for n in range(1, count + 1)]

    def sometimes(chance: float, value: float) -> float:
        return rng.uniform(0, value) if rng.random() < chance else 0.0

    network = NetworkFaults(
        remote_ms_max=rng.choice((30.0, 80.0, 250.0)),
        slow=sometimes(0.4, 0.1),
        lose_request=sometimes(0.5, 0.15),
        lose_answer=sometimes(0.5, 0.15),
        duplicate_request=sometimes(0.5, 0.2),
    )
    disk = DiskFaults(
        sync_ms_max=rng.choice((0.0, 2.0, 30.0)),
        sync_fails=sometimes(0.15, 0.01),
        crash_keeps=sometimes(0.5, 0.5),
        crash_tears=sometimes(0.5, 0.5),
    )
    store = StoreFaults(
        latency_ms_max=rng.choice((1.0, 10.0)),
        slow=sometimes(0.3, 0.05),
        timeout_applied=sometimes(0.3, 0.05),
        timeout_lost=sometimes(0.3, 0.05),
        timeout_partial=sometimes(0.4, 0.1),
        timeout_late=sometimes(0.3, 0.05),
        timeout_ms=rng.choice((500.0, 2_000.0)),
        abandoned_lands=sometimes(0.5, 1.0),
    )
    clocks = {}
    coarse = rng.choice((1, 1, 500))
    for name in names:
        clocks[name] = ClockFaults(
            offset_ms=rng.choice((0, 0, 50, -50, 3_000, -20_000)),
            drift_ppm=rng.uniform(-200, 200),
            granularity_ms=coarse,
        )
    if rng.random() < 0.15:
        clocks[rng.choice(names)] = ClockFaults(offset_ms=rng.choice((YEAR_MS, -YEAR_MS)))
    if coarse > 1:
        clocks = {name: ClockFaults(granularity_ms=coarse) for name in names}
    kept = {f.name for f in fields(NemesisSettings) if f.type == "int" and rng.random() < 0.6}
    off = {f.name: 0 for f in fields(NemesisSettings) if f.type == "int" and f.name not in kept}
    off.pop("mend", None)
    off.pop("down_at_once_max", None)
    isolated = rng.choice(sorted(layout)) if rng.random() < 0.2 else None
    chosen = Plan(
        seed=seed,
        layout=layout,
        work_s=LONG_WORK_S if isolated else WORK_S,
        faults=ClusterFaults(network, disk, store, clocks),
        nemesis=NemesisSettings(pause_ms_max=rng.choice((800.0, 1_500.0, 4_000.0)), isolated=isolated, **off),
        workload=WorkloadSettings(
            admins_per_region=2 if len(names) < 3 else 1,
            pause_ms_max=2_000.0 if isolated else rng.choice((300.0, 700.0, 1_200.0)),
            roaming=rng.choice((0.0, 0.3)),
            impatient=sometimes(0.5, 0.3),
        ),
        junk=rng.random() < 0.3,
        latecomer=rng.random() < 0.25,
    )
    # Drawn last: what is added here leaves the rest of every seed's plan as it was.
    network = replace(
        network, narrow=0.5 if rng.random() < 0.3 else 0.0, bytes_per_s=rng.uniform(*BYTES_PER_S)
    )
    return replace(chosen, faults=replace(chosen.faults, network=network))
