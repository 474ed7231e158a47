"""A page of changes is sent in the order of their dots, and not in the one in which the sender applied them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.node.own_log import OwnLog
from vexil.node.project import Project
from vexil.node.seams import LogRecord

ALL_BYTES: Final = 1 << 30


async def _read_missing(
    self: OwnLog,
    project: Project,
    *,
    after: Mapping[int, int],
    through: Mapping[int, int],
    limit_bytes: int,  # noqa: ARG001 - the caller cuts the page as well
    left_out: Sequence[int] = (),  # noqa: ARG001 - nothing is, in the scenario
) -> Sequence[LogRecord]:
    rows = await self._journal.read_changes(project.name, after=after, through=through, limit_bytes=ALL_BYTES)
    return sorted(rows, key=lambda row: (row.incarnation, row.seq))


@contextmanager
def _apply() -> Iterator[None]:
    with patch.object(OwnLog, "read_missing", _read_missing):
        yield


SWITCH: Final = SwitchedOff(2, "order", _apply, profiles=frozenset(("links",)))
