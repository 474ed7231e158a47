"""A node without anything around it: a replica that takes intents, and the changes of another one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from vexil.crdt.change import Change
from vexil.crdt.conflicts import ConflictRecord
from vexil.crdt.frontier import Verdict
from vexil.crdt.generation import Cells, visible
from vexil.crdt.materialise import describe, read_flag
from vexil.crdt.parked import read_parked, returned_record
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.plain_object import object_conflicts
from vexil.crdt.replica import Replica
from vexil.crdt.segment_state import describe_segment, read_segment
from vexil.node.authoring import Intent, etag_of
from vexil.node.authoring.single import create_flag, delete_flag, patch_flag, put_segment
from vexil.node.errors import ApiError

BOOLEAN = {"key": "f", "type": "boolean"}

STAFF = {"if": {"ends_with": [{"var": "email"}, "@example.com"]}, "serve": "on"}
"""A rule's body, without an id."""
FULL = {
    "key": "f",
    "type": "boolean",
    "description": "the new one",
    "owner": "payments",
    "tags": ["web", "ios"],
    "client_visible": True,
    "archived": False,
    "variants": {"on": True, "off": False},
    "environments": {
        "prod": {
            "enabled": True,
            "kill": False,
            "default": "off",
            "off_variant": "off",
            "rules": [
                {"id": "r2", "description": "staff", **STAFF},
                {"id": "r1", "if": True, "split": [["on", 10], ["off", 90]], "by": {"var": "company"}},
            ],
            "targeting": None,
            "metadata": {"team": "a", "n": 1},
        }
    },
    "prerequisites": [],
}
"""A boolean flag that says everything which a flag can say."""


class Node:
    """One project on one node; `take` is its write path, `pull` its gossip. Also a `View`."""

    def __init__(self, incarnation: int = 1, *, environments: Sequence[str] = ("dev", "prod")) -> None:
        self.incarnation = incarnation
        self.environments: Sequence[str] = environments
        self.replica = Replica()
        self.log: list[Change] = []
        self.hlc = 1000
        self._ids = count(1)
        self._known: tuple[int, list[str]] = (0, [])

    # -- as a view

    def flag_keys(self) -> list[str]:
        if self._known[0] != self.replica.root:
            keys = [key for key in self._keys("flag/") if visible(self._flag_cells(key))]
            self._known = (self.replica.root, keys)
        return self._known[1]

    def requirers(self, key: str) -> list[str]:
        read = {
            other: read_flag(other, self._flag_cells(other), self.environments) for other in self.flag_keys()
        }
        return [other for other, flag in read.items() if flag is not None and key in flag.prerequisites]

    def conflicts(self) -> list[ConflictRecord]:
        found: list[ConflictRecord] = []
        for key in self._keys("flag/"):
            flag = read_flag(key, self._flag_cells(key), self.environments)
            found += [] if flag is None else [*flag.conflicts, *flag.problems]
        for key in self._keys("segment/"):
            segment = read_segment(key, self.replica.cells(f"segment/{key}"))
            found += [] if segment is None else [*segment.conflicts, *segment.problems]
        for name in self.replica.objects:
            if name.partition("/")[0] in ("flagd", "project"):
                found += object_conflicts(name, self.replica.cells(name))
        for key in self._keys("parked/"):
            for parked in read_parked(key, self.replica.cells(f"parked/{key}")):
                found.append(returned_record(parked, self.replica.cells(parked.object)))
        return found

    def _keys(self, prefix: str) -> list[str]:
        return sorted(name.removeprefix(prefix) for name in self.replica.objects if name.startswith(prefix))

    def _flag_cells(self, key: str) -> Cells:
        return self.replica.cells(f"flag/{key}")

    # -- as a node

    def new_id(self) -> str:
        return f"new{next(self._ids)}"

    def take(self, intent: Intent) -> Change | None:
        if not intent.writes:
            return None
        self.hlc += 1 << 16
        pen = Pen(self.replica, self.incarnation)
        change = pen.write(list(intent.writes), hlc=self.hlc, author="alice")
        assert self.replica.verdict(change) is Verdict.NEXT
        self.replica.apply(change)
        self.log.append(change)
        return change

    def write(self, *writes: CellWrite) -> None:
        """Past authoring: what only merging or a newer version can make."""
        self.take(Intent(list(writes)))

    def restarted(self, incarnation: int) -> Node:
        """The next process of this node: the same state under another incarnation."""
        node = Node(incarnation, environments=self.environments)
        node.replica, node.log, node.hlc = self.replica, self.log, self.hlc
        return node

    def pull(self, other: Node) -> None:
        for change in other.log:
            if self.replica.verdict(change) is Verdict.NEXT:
                self.replica.apply(change)
                self.log.append(change)

    # -- what people see

    def flag(self, key: str = "f") -> dict:
        state = read_flag(key, self._flag_cells(key), self.environments)
        assert state is not None, f"there is no flag {key}"
        return describe(state)

    def has(self, key: str = "f") -> bool:
        return key in self.flag_keys()

    def segment(self, key: str = "s") -> dict:
        state = read_segment(key, self.replica.cells(f"segment/{key}"))
        assert state is not None, f"there is no segment {key}"
        return describe_segment(state)

    def etag(self, key: str = "f") -> str:
        return etag_of(self._flag_cells(key))

    def segment_etag(self, key: str = "s") -> str:
        return etag_of(self.replica.cells(f"segment/{key}"))

    # -- what people do

    def create(self, body: object) -> Intent:
        intent = create_flag(self, body, new_id=self.new_id)
        self.take(intent)
        return intent

    def patch(self, patch: object, *, key: str = "f", if_match: str | None = None) -> Intent:
        intent = patch_flag(self, key, patch, new_id=self.new_id, if_match=if_match)
        self.take(intent)
        return intent

    def delete(self, key: str = "f", *, if_match: str | None = None) -> Intent:
        intent = delete_flag(self, key, if_match=if_match)
        self.take(intent)
        return intent

    def put_segment(self, body: object, *, key: str = "s", if_match: str | None = None) -> Intent:
        intent = put_segment(self, key, body, new_id=self.new_id, if_match=if_match)
        self.take(intent)
        return intent


def node_with(*bodies: object, incarnation: int = 1) -> Node:
    """A node on which the flags ``bodies`` have been created."""
    node = Node(incarnation)
    for body in bodies:
        node.create(body)
    return node


def pair(*bodies: object) -> tuple[Node, Node]:
    """Two nodes that both have the flags ``bodies``."""
    near, far = node_with(*bodies), Node(2)
    far.pull(near)
    far.hlc = near.hlc
    return near, far


def fields(intent: Intent) -> list[str]:
    """The fields that an intent writes, existence left out; sorted."""
    return sorted(write.field for write in intent.writes if write.field != "exists")


def paths(error: ApiError) -> list[str]:
    """The places in the body that a refusal names; sorted."""
    return sorted(e["path"] for e in error.members["errors"])  # type: ignore[attr-defined]  # members are any JSON
