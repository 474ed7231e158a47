"""The limits that an author is held to, each with its name: over one is 413 ``limit.<name>``.

Bounds of one object are those of `vexil.crdt.limits`, which readers use too; here are those of a request. A state that
merging has already taken over a limit may still be edited, as long as the edit does not make it worse: otherwise
nobody could mend it.
"""

from __future__ import annotations

from typing import Final

from vexil.node.errors import LimitExceeded

FLAGS_MAX: Final = 100_000
BODY_DEPTH_MAX: Final = 128
"""Arrays and objects inside each other in a whole body; more than the logic, the variants and a change set need."""
OPERATIONS_MAX: Final = 500
CHANGE_BYTES_MAX: Final = 1 << 20
CHANGE_CELLS_MAX: Final = 4096
"""What a reader takes in one change (`vexil.crdt.change.OPERATIONS_MAX`); one operation may write many cells."""
AUTHOR_BYTES_RESERVED: Final = 64
"""A cell that is about to be written is counted with an author of this length."""
NAME_BYTES_MAX: Final = 200
"""Variant names, tags, metadata keys, rule ids, evaluator names."""
MEMBER_BYTES_MAX: Final = 1024
TEXT_BYTES_MAX: Final = 4096
"""Descriptions, owners, change messages."""
ENVIRONMENTS_MAX: Final = 100
FLAGD_PART_BYTES_MAX: Final = 1 << 20
IF_MATCH_BYTES_MAX: Final = 8 << 10
KEY_RECORD_BYTES_MAX: Final = 8 << 10


def refuse_over(name: str, value: int, limit: int, *, before: int = 0, unit: str = "") -> None:
    """Raise LimitExceeded if ``value`` is over ``limit`` and above ``before``: what was over it may get smaller."""
    if value > limit and value > before:
        raise LimitExceeded(name, f"{value}{unit and ' ' + unit}, the limit is {limit}")
