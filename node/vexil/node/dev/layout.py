"""Which nodes a local cluster has, and where each of them listens. Pure.

The one idea: everything follows from the order of the regions. Node number ``i`` listens on ``base + 2i`` (HTTP),
``base + 2i + 1`` (peers) and ``base + 2·nodes + i`` (flagd), so the same options always give the same URLs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vexil.node.dev.errors import DevError

HOST = "127.0.0.1"
PORT_MAX = 65_535
NODES_MAX = 50
NAME_BYTES_MAX = 60
"""Leaves room for the number of the node in its region."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def is_node_name(text: str) -> bool:
    """Whether a node, or a region, can be called ``text``."""
    return len(text) <= NAME_BYTES_MAX and _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node: its slot name, its region and its ports."""

    name: str
    region: str
    http_port: int
    peer_port: int
    flagd_port: int

    @property
    def url(self) -> str:
        """Where its HTTP interface is."""
        return f"http://{HOST}:{self.http_port}"

    @property
    def peer_url(self) -> str:
        """Where its peers find it."""
        return f"http://{HOST}:{self.peer_port}"

    @property
    def ports(self) -> tuple[int, int, int]:
        """Every port that is its own."""
        return self.http_port, self.peer_port, self.flagd_port


def plan(regions: Sequence[str], *, nodes: int, base_port: int) -> tuple[NodePlan, ...]:
    """``nodes`` nodes in each of ``regions``, in order. Raises DevError for what makes no cluster."""
    if not regions:
        raise DevError("a cluster has at least one region")
    for region in regions:
        if not is_node_name(region):
            raise DevError(
                f"{region!r} is not a region name: 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -, "
                "the first a letter or a digit"
            )
    if len(set(regions)) < len(regions):
        raise DevError(f"a region is named twice: {','.join(regions)}")
    names = [(f"{region}-{number}", region) for region in regions for number in range(1, nodes + 1)]
    total = len(names)
    if not 1 <= total <= NODES_MAX:
        raise DevError(f"a local cluster has 1 to {NODES_MAX} nodes, not {total}")
    if len({name for name, _ in names}) < total:
        raise DevError(f"two nodes would have one name: choose other regions than {','.join(regions)}")
    if not 1 <= base_port <= PORT_MAX - 3 * total + 1:
        raise DevError(f"the base port must be from 1 to {PORT_MAX - 3 * total + 1}, not {base_port}")
    return tuple(
        NodePlan(name, region, base_port + 2 * i, base_port + 2 * i + 1, base_port + 2 * total + i)
        for i, (name, region) in enumerate(names)
    )
