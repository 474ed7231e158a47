"""What is wrong with the world of one cluster all the time: its network, its disks, its stores, its clocks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

from vexil.chaos.world.simulated_clock import ClockFaults
from vexil.chaos.world.simulated_disk import DiskFaults
from vexil.chaos.world.simulated_network import NetworkFaults
from vexil.chaos.world.simulated_store import StoreFaults

STRIKING: Final = frozenset(
    (
        "network.slow", "network.lose_request", "network.lose_answer", "network.duplicate_request", "network.truncate",
        "network.corrupt", "disk.sync_fails", "store.slow", "store.timeout_applied", "store.timeout_lost",
        "store.timeout_partial", "store.timeout_late",
    )
)  # fmt: skip
"""Probabilities of the plan's world that strike in nearly every run that has them. Left out is what only decides how a
crash ends (``crash_keeps``, ``crash_tears``, ``abandoned_lands``), what needs a start (``read_fails``), and how many
links are narrow."""


@dataclass(frozen=True, slots=True)
class ClusterFaults:
    """All that is wrong with the world of one cluster from the start; the defaults are a sound world."""

    network: NetworkFaults = field(default_factory=NetworkFaults)
    disk: DiskFaults = field(default_factory=DiskFaults)
    store: StoreFaults = field(default_factory=StoreFaults)
    clocks: dict[str, ClockFaults] = field(default_factory=dict)
    """By slot; the others are true."""

    @property
    def continuous(self) -> frozenset[str]:
        """What goes on striking, as ``network.lose_request``; not what only decides how a crash ends."""
        parts = {"network": asdict(self.network), "disk": asdict(self.disk), "store": asdict(self.store)}
        return STRIKING & {
            f"{part}.{name}" for part, faults in parts.items() for name in faults if faults[name]
        }
