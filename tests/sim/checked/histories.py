"""What histories for checkers have in common: two nodes that write and hear each other, and ways to spoil a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sim.checked.stage import HEARD_S, Node, Stage
from vexil.chaos.run.history import Attempt, Outcome, Write
from vexil.crdt import cell as cells
from vexil.crdt.change import Change

Play = Callable[[Stage], None]
"""What happens on a stage."""


def described(text: str) -> dict[str, Any]:
    return {"patch": {"description": text}}


def acknowledged(change: Change, *, key: str, slot: str = "eu-1", **members: Any) -> Write:
    """What a client knows that was told of ``change`` at once."""
    attempts = [Attempt(slot, 0.5, HEARD_S, "ok")]
    return Write(
        key,
        "patch",
        "kim",
        outcome=Outcome.ACKNOWLEDGED,
        dot=change.dot,
        slot=slot,
        attempts=attempts,
        **members,
    )


def edit(stage: Stage) -> tuple[Node, Node, Change]:
    """Two nodes that have an edit of the first, which a client was told of."""
    left, right = stage.two()
    change = left.do("patch", key="kim/1", **described("edited"))
    stage.acknowledged(acknowledged(change, key="kim/1", token=dict(left.replica.vv)))
    right.take(change)
    return left, right, change


def exchange(stage: Stage) -> None:
    """Two nodes write at once, hear each other, and are looked at."""
    left, right = stage.two()
    ours, theirs = left.do("patch", **described("left")), right.do("patch", **described("right"))
    left.take(theirs)
    right.take(ours)
    stage.checkpoint()
    stage.settle()


def nothing(stage: Stage) -> None:
    """One node, alone and idle."""
    stage.node("eu-1")
    stage.checkpoint()
    stage.settle()


def put(node: Node, name: str, spoil: Callable[[cells.Flat], object], *, flag: str = "f") -> None:
    """Do something to the one cell of a flag that is called ``name``, past everybody."""
    (fields,) = (f for g, f in node.replica.objects[f"flag/{flag}"].items() if name in f)
    flat = cells.unpacked(fields[name])
    spoil(flat)
    fields[name] = cells.pack(flat)


def unsee(flat: cells.Flat) -> None:
    """Forget of every lane that it was replaced."""
    for i in range(0, len(flat), cells.WIDTH):
        flat[i + 4 : i + 7] = (0, 0, 0)
