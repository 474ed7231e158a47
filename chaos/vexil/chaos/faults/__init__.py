"""Every kind of fault, by family; importing this package registers them all."""

from vexil.chaos.faults import (
    clocks,
    copies,
    disks,
    links,
    load,
    members,
    poison,
    processes,
    stores,
    versions,
)

__all__ = [
    "clocks",
    "copies",
    "disks",
    "links",
    "load",
    "members",
    "poison",
    "processes",
    "stores",
    "versions",
]
