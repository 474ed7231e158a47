"""A digest leaves removals out: two nodes are level for it, although one of them has not heard of a delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final
from unittest.mock import patch

import msgpack

from vexil.chaos.planted.planted_bug import PlantedBug
from vexil.crdt.cell import live
from vexil.crdt.payload import is_tombstone
from vexil.node.gossip import exchange, service
from vexil.node.gossip.digest import DIGEST_BYTES
from vexil.node.project import Project


def _project_hash(project: Project) -> bytes:
    removals = {
        (lane.incarnation, lane.seq)
        for generations in project.replica.objects.values()
        for fields in generations.values()
        for packed in fields.values()
        for lane in live(packed)
        if is_tombstone(lane.payload)
    }
    told = {
        incarnation: next(seq for seq in range(last, -1, -1) if (incarnation, seq) not in removals)
        for incarnation, last in project.replica.vv.items()
    }
    return blake2b(msgpack.packb(sorted(told.items())), digest_size=DIGEST_BYTES).digest()


@contextmanager
def _apply() -> Iterator[None]:
    with (
        patch.object(exchange, "project_hash", _project_hash),
        patch.object(service, "project_hash", _project_hash),
    ):
        yield


BUG: Final = PlantedBug(
    19,
    "removals not in digest",
    frozenset(("P4", "P9")),
    _apply,
    history="delete-by-digest",
    profiles=frozenset(("links",)),
)
