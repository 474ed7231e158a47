"""What a node still takes when it finds its own clock far off its peers': kills, and nothing else.

Its stamps would win or lose races that they should not. A kill is safe all the same: it holds whatever its stamp says.
"""

from __future__ import annotations

from vexil.crdt import schema
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.replica import NEW_GENERATION, CellWrite
from vexil.node.authoring.intent import Intent

_KILL = schema.kill_field("")


def only_kills(intent: Intent) -> bool:
    """Whether ``intent`` kills flags that are there and does nothing else."""
    rest = [w for w in intent.writes if not _is_kill(w)]
    return len(rest) < len(intent.writes) and all(map(_is_touch, rest))


def _is_kill(write: CellWrite) -> bool:
    return write.generation == NO_GENERATION and write.field.startswith(_KILL) and write.value is True


def _is_touch(write: CellWrite) -> bool:
    """Every edit of a flag touches its existence; a create or a delete does more than that."""
    return (
        write.field == schema.EXISTS
        and write.generation not in {NEW_GENERATION, NO_GENERATION}
        and write.value is not TOMBSTONE
    )
