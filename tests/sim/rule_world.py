"""Members that are told what to do one step at a time: the parts of a node that rules are about, without its loops.

Each has the replicas of one project and of `_system`, reads the members from the latter, tells and hears promises, and
collects. What it shows is compared with a *shadow*: the same changes, one by one, nothing collected, nothing joined.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.property.nodes import Node, World, reloaded
from vexil.crdt.change import decode
from vexil.crdt.frontier import Verdict
from vexil.crdt.merge import Merge
from vexil.crdt.replica import Replica
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import membership, stability
from vexil.node.announcements import Announcements, Place
from vexil.node.directory import Directory
from vexil.node.project import Project
from vexil.node.stability import Stable

SHOP = "shop"
FLAG = "flag/f"


class Member:
    """One member; its slot is called as it is."""

    def __init__(self, name: str, number: int, shop: World, system: World) -> None:
        """A member that has nothing; ``number`` is its incarnation."""
        self.name = name
        self.registration = membership.registration_of(number)
        self.shop = Node(shop, number)
        self.system = Node(system, number)
        self.promises = Announcements()
        self.promises.become(Place(name, self.registration), start=1)

    @property
    def directory(self) -> Directory:
        """`_system`, read."""
        project = Project(SYSTEM_PROJECT, self.system.replica, on_defect=_no_defect)
        return Directory(project)

    # -- membership

    def register(self, other: Member) -> None:
        """By a change of this member."""
        name = other.name
        intent = membership.registration(
            self.directory,
            node=name,
            region=name,
            peer_url=f"p://{name}",
            http_url=f"h://{name}",
            registration=other.registration,
            by=self.name,
        )
        self.system.write(intent.writes)

    def evict(self, name: str) -> None:
        """By a change of this member."""
        intent = membership.eviction(self.directory, name, own=self.name, by=self.name)
        self.system.write(intent.writes)

    # -- promises and garbage

    def tell(self) -> None:
        """Promise all that is here."""
        vectors = {SHOP: dict(self.shop.vector), SYSTEM_PROJECT: dict(self.system.vector)}
        self.promises.announce(vectors, hlc=1)

    def hear(self, *others: Member) -> None:
        """All promises that ``others`` know."""
        counted = {stability.place_of(r) for r in self.directory.registrations()}
        for other in others:
            for told in list(other.promises.newer_than(self.promises.versions())):
                self.promises.take(told, counted)

    def collect(self) -> bool:
        """What garbage may be; whether anything was stable."""
        found = stability.stability(
            SHOP,
            self.shop.replica,
            self.system.replica,
            registrations=self.directory.registrations(),
            announcements=self.promises,
        )
        if not isinstance(found, Stable) or not found.vv:
            return False
        replica = self.shop.replica
        replica.advance_floor(found.vv)
        for name in list(replica.objects):
            replica.collect(name, found.vv)
        return True

    # -- changes and states

    def pull(self, *others: Member) -> None:
        """All that ``others`` have of both projects; a change that does not fit is an error."""
        for other in others:
            for mine, theirs in ((self.system, other.system), (self.shop, other.shop)):
                for dot in [d for d in theirs.order if d not in mine.known]:
                    assert mine.offer(dot) is Verdict.NEXT

    def join_state_of(self, other: Member) -> None:
        """Join the other's state as a whole: what a snapshot does."""
        with Merge(self.shop.replica, reloaded(other.shop.replica)) as merge:
            merge.finish()
        for dot in other.shop.order:
            if dot not in self.shop.known:
                self.shop._note(dot)

    def check(self) -> None:
        """What is shown is what the shadow shows."""
        shadow = Replica()
        for dot in self.shop.order:
            shadow.apply(decode(self.shop.world.log[dot].raw))
        replica = self.shop.replica
        assert list(replica.canonical()) == list(shadow.canonical()), f"{self.name} shows something else"
        assert replica.root == replica.recomputed_root()


def members(*names: str) -> Sequence[Member]:
    """A cluster of members, registered by the first of them, with the flag f everywhere."""
    shop, system = World(), World()
    found = [Member(name, number, shop, system) for number, name in enumerate(names, 1)]
    first, *others = found
    for member in found:
        first.register(member)
    first.shop.create(FLAG, fields={"description": "fresh", "tag/old": True})
    for other in others:
        other.pull(first)
    return found


def all_tell_and_hear(*found: Member) -> None:
    """Everybody promises what it has; everybody knows."""
    for member in found:
        member.tell()
    for member in found:
        member.hear(*found)


def _no_defect(project: str, name: str, error: Exception) -> None:
    raise error
