"""From cells to what people and evaluators see: the one door to reading.

Every reader behind it is total and pure. They share the read policies (``policy``), the names (``schema``), and the
records of what was lost or made safe (``conflicts``).
"""

from __future__ import annotations

from vexil.crdt.conflicts import ConflictRecord, Sibling
from vexil.crdt.flag_document import describe, document
from vexil.crdt.flag_reader import read_flag
from vexil.crdt.flag_state import EnvironmentState, FlagState, RuleState
from vexil.crdt.flagd_state import FlagdState, read_flagd
from vexil.crdt.generation import next_epoch, shown_generation
from vexil.crdt.plain_object import object_conflicts
from vexil.crdt.segment_state import (
    SegmentState,
    describe_segment,
    read_segment,
    segment_document,
    update_members,
)
from vexil.crdt.system_state import (
    KeyState,
    MemberState,
    ProjectState,
    read_key,
    read_member,
    read_project,
)

__all__ = [
    "ConflictRecord",
    "EnvironmentState",
    "FlagState",
    "FlagdState",
    "KeyState",
    "MemberState",
    "ProjectState",
    "RuleState",
    "SegmentState",
    "Sibling",
    "describe",
    "describe_segment",
    "document",
    "next_epoch",
    "object_conflicts",
    "read_flag",
    "read_flagd",
    "read_key",
    "read_member",
    "read_project",
    "read_segment",
    "segment_document",
    "shown_generation",
    "update_members",
]
