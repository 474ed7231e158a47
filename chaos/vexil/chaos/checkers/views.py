"""What nodes show, read from their cells: for checkers that compare it with what was shown before.

The same cells are read once, however many nodes hold them: reading is a pure function of cells. That it is one, and
that what is served is what is read so, is P2's and P14's to judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vexil.crdt.flag_reader import read_flag
from vexil.crdt.flag_state import FlagState
from vexil.crdt.schema import FLAG, SEGMENT, parse_object
from vexil.crdt.segment_state import SegmentState, read_segment
from vexil.node.project import Project

REMEMBERED_MAX: Final = 10_000
State = FlagState | SegmentState
Content = tuple[object, ...]


class Views:
    """A memory of what has been read in one run."""

    def __init__(self) -> None:
        """Nothing has been read yet."""
        self._read: dict[Content, State | None] = {}

    def shown(self, project: Project, name: str) -> State | None:
        """What the object ``name`` shows; None if it is not there, or is neither a flag nor a segment.

        It is shared: do not change it.
        """
        cells = project.replica.cells(name)
        content = (name, project.environments, *((g, tuple(fields.items())) for g, fields in cells.items()))
        if content not in self._read:
            if len(self._read) >= REMEMBERED_MAX:
                del self._read[next(iter(self._read))]
            kind, key = parse_object(name) or ("", "")
            found: State | None = None
            if kind == FLAG:
                found = read_flag(key, cells, project.environments)
            elif kind == SEGMENT:
                found = read_segment(key, cells)
            self._read[content] = found
        return self._read[content]


def objects(project: Project) -> Iterator[str]:
    """Every flag and segment that was ever written at a node, shown or not."""
    for name in project.replica.objects:
        kind, _ = parse_object(name) or ("", "")
        if kind in (FLAG, SEGMENT):
            yield name
