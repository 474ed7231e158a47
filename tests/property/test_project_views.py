"""Views that follow a replica change by change are those of a project that reads it for the first time (P2, P14)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vexil.crdt.change import NO_GENERATION, Change, Dot
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.generation import visible
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node.project import Project

ENVIRONMENTS = ("dev", "prod")
KEYS = ("a", "b")


def never(project: str, name: str, error: Exception) -> None:
    raise AssertionError(f"{name} could not be read") from error


class Node:
    """A replica, a hand, and the views that follow."""

    def __init__(self, incarnation: int) -> None:
        self.replica = Replica()
        self.project = Project("shop", self.replica, on_defect=never)
        self.project.configure(ENVIRONMENTS, "v3")
        self.log: list[Change] = []
        self._pen = Pen(self.replica, incarnation)
        self._hlc = 0

    def write(self, writes: Sequence[CellWrite], *, hlc: int) -> None:
        if writes:
            self.take([self._pen.write(writes, hlc=hlc, author="ada")])

    def take(self, changes: Sequence[Change]) -> None:
        """Apply a batch, then read what it touched, as the pipeline does."""
        frontier = Frontier(self.replica)
        batch = []
        for change in changes:
            if frontier.verdict(change) is Verdict.NEXT:
                frontier.admit(change)
                batch.append(change)
        for change in batch:
            self.replica.apply(change)
            self.project.changes_applied += 1
        self.project.refresh(batch)
        self.log += batch

    def shown(self, name: str) -> Dot | None:
        found = visible(self.replica.cells(name))
        return found[0].generation if found else None


def views(project: Project) -> dict[str, Any]:
    """Everything that is read of a project."""
    sets = {e: project.flag_set(e) for e in project.environments}
    return {
        "flags": list(project.flag_keys()),
        "states": [project.flag(key) for key in project.flag_keys()],
        "segments": {key: project.segment(key) for key in project.segment_keys()},
        "conflicts": project.conflicts(),
        "conflict_count": project.conflict_count,
        "quarantined": project.quarantined,
        "sets": {
            e: (dict(s.flags), dict(s.segments), dict(s.evaluators), dict(s.metadata), s.version)
            for e, s in sets.items()
        },
    }


def first_reading(replica: Replica) -> dict[str, Any]:
    project = Project("shop", replica, on_defect=never)
    project.configure(ENVIRONMENTS, "v3")
    return views(project)


# -- what people do

Edit = tuple[Any, ...]
RULE = {"if": {"==": [{"var": "a"}, 1]}, "serve": "on"}
FLAG = {"variant/on": True, "variant/off": False, "env/prod/enabled": True, "env/prod/default": "on"}
flag_fields = st.sampled_from(
    [
        ("description", "x"),
        ("description", "y"),
        ("description", 7),
        ("tag/t", True),
        ("tag/t", TOMBSTONE),
        ("variant/on", TOMBSTONE),
        ("env/prod/default", "off"),
        ("env/prod/default", "gone"),
        ("env/dev/rule/r", RULE),
        ("env/dev/rule/r", {"if": 1}),
        ("env/dev/rule/r", TOMBSTONE),
        ("env/prod/enabled", True),
        ("env/prod/enabled", False),
        ("env/prod/enabled", 7),
        ("env/prod/enabled", TOMBSTONE),
        ("env/dev/enabled", True),
        ("env/gone/enabled", True),
        ("prerequisite/b", "on"),
        ("hologram", 1),
        ("exists", {"epoch": 9, "type": "string"}),
        ("exists", 5),
    ]
)
segment_fields = st.sampled_from(
    [
        *((f"member/{m}", value) for m in "xy" for value in (True, TOMBSTONE, False, 5)),
        ("description", "x"),
        ("description", 7),
        ("rule/r", {"if": {"==": [1, 1]}}),
        ("rule/r", 7),
        ("order", ["r"]),
        ("exists", {"epoch": 9}),
        ("exists", 5),
    ]
)
keys = st.sampled_from(KEYS)
edits: st.SearchStrategy[Edit] = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(["flag", "segment"]), keys),
    st.tuples(st.just("delete"), st.sampled_from(["flag", "segment"]), keys),
    st.tuples(st.just("flag"), keys, st.lists(flag_fields, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("segment"), keys, st.lists(segment_fields, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("kill"), keys, st.booleans()),
    st.tuples(st.just("flagd"), st.sampled_from(["evaluator/e", "metadata/m"]), st.sampled_from([{}, 1])),
)
steps = st.tuples(
    st.integers(0, 1),
    st.one_of(edits, edits, st.tuples(st.just("pull"), st.integers(1, 9))),
    st.integers(1, 99),
)


def writes_of(node: Node, edit: Edit) -> list[CellWrite]:
    kind = edit[0]
    if kind == "create":
        name = f"{edit[1]}/{edit[2]}"
        fields = FLAG if edit[1] == "flag" else {"member/x": True}
        exists = {"epoch": 1, "type": "boolean"}
        return [CellWrite(name, NEW_GENERATION, f, v) for f, v in {"exists": exists, **fields}.items()]
    if kind == "delete":
        name = f"{edit[1]}/{edit[2]}"
        there = visible(node.replica.cells(name))
        return [CellWrite(name, e.generation, "exists", TOMBSTONE) for e in there]
    if kind == "kill":
        return [CellWrite(f"flag/{edit[1]}", NO_GENERATION, "kill/prod", edit[2])]
    if kind == "flagd":
        return [CellWrite("flagd/prod", NO_GENERATION, edit[1], edit[2])]
    name = f"{kind}/{edit[1]}"
    generation = node.shown(name)
    if generation is None:
        return []
    values: dict[str, object] = dict(edit[2])
    if edit[3]:
        values.setdefault("exists", {"epoch": 1, "type": "boolean"})
    return [CellWrite(name, generation, f, v) for f, v in values.items()]


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=30))
def test_views_that_follow_are_the_views_of_a_first_reading(history: list[tuple[int, Edit, int]]) -> None:
    nodes = [Node(1), Node(2)]
    for kind in ("flag", "segment"):
        nodes[0].write(writes_of(nodes[0], ("create", kind, "a")), hlc=1)
    nodes[1].take(nodes[0].log)
    for who, edit, hlc in history:
        node, other = nodes[who], nodes[1 - who]
        if edit[0] == "pull":
            have = node.replica.vv
            node.take([c for c in other.log if c.seq > have.get(c.incarnation, 0)][: edit[1]])
        else:
            node.write(writes_of(node, edit), hlc=hlc)
        assert views(node.project) == first_reading(node.replica)
    for node, other in (nodes, nodes[::-1]):
        node.take([c for c in other.log if c.seq > node.replica.vv.get(c.incarnation, 0)])
    assert views(nodes[0].project) == views(nodes[1].project)
    assert list(nodes[0].project.flag_keys()) == sorted(nodes[0].project.flag_keys())
