"""What a run is, as plain data: a cluster, what is wrong with its world, what breaks when, and who asks for what when.

A plan says everything: a run is a function of its plan alone, so a plan can be written down, read again, made smaller
and run once more. Whatever is drawn while it runs comes from a stream named after the thing that draws (a link, a disk,
the fault or the operation of that number). Taking one thing out of a plan takes its own draws out and no others:
another thing draws differently only from where the world has become another one for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vexil.chaos.world.simulated_cluster import GARBAGE_INTERVAL_MS, ClusterFaults

WORK_S: Final = 12.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks: at a moment, somewhere, for a while."""

    number: int
    """Its name for life: draws that it makes are from the stream of this number."""
    kind: str
    """One of `vexil.chaos.faults.fault.KINDS`."""
    at_s: float
    """Virtual seconds since the work began."""
    places: tuple[str, ...] = ()
    """Nodes or regions, as the kind has it."""
    lasts_s: float = 0.0
    amount: float = 0.0
    """How much of it, in the kind's own unit."""
    point: str = ""
    """A named point of a process, for kinds that wait for one."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that a client asks for."""

    number: int
    """Its name for life: its details, and its idempotency key, come from the stream of this number."""
    client: str
    """Who asks. A client does one thing after another; what is late is done at once."""
    at_s: float
    """Virtual seconds since the work began, at the earliest."""
    kind: str
    """One of `vexil.chaos.clients.operations.KINDS`."""
    flag: str = ""
    """Or the segment, for kinds that are about one."""
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """A person with a script, or a service."""

    name: str
    region: str
    """Where it is at home."""
    role: str = "admin"
    """One of `vexil.chaos.clients.operations.ROLES`."""
    roaming: float = 0.2
    """How often it asks a node of another region, in 0…1."""
    impatient: float = 0.1
    """How often it gives up after 300 ms, and asks again."""
    demanding: float = 0.15
    """How often it asks for a durability by name."""
    token_wait_ms: float = 500.0
    """How long a node may make it wait for its token; only a session has one."""


@dataclass(frozen=True, slots=True)
class Service:
    """A regional service with the SDK: its client follows one environment, from the start of the work."""

    name: str
    region: str
    """Where it runs."""
    environment: str
    urls: tuple[str, ...]
    """Nodes, in its order of preference."""
    polls: bool = False
    """It asks again and again instead of following a stream."""
    keeps: bool = False
    """It has a disk for its snapshot."""
    restarts: tuple[float, ...] = ()
    """When it is killed and started again, in virtual seconds since the work began, in order."""
    leaves_s: float = 0.0
    """When it is killed for good; 0: it stays to the end of the run."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """Limits of the product that a run sets tighter than production does, so that few things are many. 0: as it is."""

    page_bytes: int = 0
    """Of one page of a pull or push."""
    snapshot_page_bytes: int = 0
    garbage_interval_ms: int = GARBAGE_INTERVAL_MS
    fold_batch_rows: int = 0
    """Rows of one write of the fold."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    layout: Mapping[str, int]
    """Regions and how many nodes each has, named ``<region>-1`` and so on; the first is the one that bootstraps."""
    profile: str = "mixed"
    """Which kind of trouble the seed is about, in a word; it has no effect."""
    embedded: bool = False
    """Each node has a store of its own, as in SQLite; else the nodes of a region share one."""
    work_s: float = WORK_S
    """How long clients and faults are at it, in virtual time."""
    world: ClusterFaults = field(default_factory=ClusterFaults)
    """What is wrong all the time."""
    knobs: Knobs = field(default_factory=Knobs)
    faults: tuple[Fault, ...] = ()
    """In the order of ``at_s``."""
    clients: tuple[Client, ...] = ()
    operations: tuple[Operation, ...] = ()
    """In the order of ``at_s``."""
    services: tuple[Service, ...] = ()

    def __str__(self) -> str:
        nodes = "+".join(map(str, self.layout.values()))
        return (
            f"seed {self.seed} ({self.profile}): {nodes} nodes, {self.work_s:.0f} s, "
            f"{len(self.faults)} faults, {len(self.operations)} operations"
        )

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of all nodes that are there from the start."""
        return tuple(f"{region}-{n}" for region, count in self.layout.items() for n in range(1, count + 1))
