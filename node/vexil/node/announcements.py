"""What each member's store has, told by the member itself and passed on by everybody.

An announcement is a promise: "my store holds at least this much of every project, and I will never start from less".
Garbage, truncation and retirement rest on these promises and on nothing else: not on clocks, not on who was heard. They
are kept in memory; a node that has just started hears all of them again from the first peer.

A member numbers each project's vector when it changes. So whoever knows a promise up to a number needs only what was
changed after it, and any piece of it, in the order of the numbers, is a promise too: an older and weaker one.

Two processes that run as one registration (a copied folder) would speak for one place in turn, each without knowing
what the other's store has. As soon as one of them knows of the other, it disputes the place: what it says then promises
nothing, and the other one stops speaking too. So a place of twins holds up whatever needs its promise.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

import msgpack
import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt import version_vector
from vexil.crdt.schema import SYSTEM_PROJECT

ANNOUNCEMENTS_MAX = 4_000
"""Registrations whose announcements are kept: those that count, a bounded number by the bound on members."""
HASH_BYTES = 12
TWINS_MAX: Final = 16
"""Processes that one dispute names; the latest, if there are more."""
DISPUTED_S: Final = 60.0
"""For so long a dispute holds against a promise that comes after it: a twin that lives has spoken again by then."""

Speaker = Literal["self", "twin", "earlier"]
SELF: Final = "self"
TWIN: Final = "twin"
EARLIER: Final = "earlier"


class Place(NamedTuple):
    """Whose promise: a slot, under one of its registrations."""

    slot: str
    registration: str


class Version(NamedTuple):
    """A later promise of one place is higher."""

    start: int
    """The process's start number."""
    number: int
    """Of the newest vector in it."""
    life: int = 0
    """The incarnation of the process that made it: copies of a folder start under one number."""

    def same_life(self, other: Version) -> bool:
        """Whether one process made both, so that its numbers tell what the older one lacks."""
        return (self.start, self.life) == (other.start, other.life)


NEVER = Version(0, 0)


@dataclass(frozen=True, slots=True)
class Announcement:
    """One member's promise, whole or (`since` above 0) only what it changed after that number. Do not change it."""

    place: Place
    version: Version
    hlc: int
    """When it was made, by the member's own clock: for people, never for a decision."""
    vectors: Mapping[str, Mapping[int, int]]
    """Per project the vector of the fold that the member's store has."""
    numbers: Mapping[str, int]
    """Per project of ``vectors``: the number of its vector."""
    since: int = 0
    twins: tuple[int, ...] = ()
    """Lives that go on beside the one which made it. If there are any, it is a dispute: ``vectors`` are all that one or
    the other has promised, and nobody has all of them."""

    @property
    def time_ms(self) -> int:
        """When it was made, in milliseconds since the Unix epoch."""
        return hlcs.milliseconds(self.hlc)

    def vector(self, project: str) -> Mapping[int, int]:
        """What it promises of one project; nothing of a project that it does not name. A dispute promises nothing."""
        return {} if self.twins else self.vectors.get(project, {})

    def after(self, count: int) -> Announcement:
        """What whoever knows it up to ``count`` lacks."""
        names = [name for name, number in self.numbers.items() if number > count]
        return Announcement(
            self.place,
            self.version,
            self.hlc,
            {name: self.vectors[name] for name in names},
            {name: self.numbers[name] for name in names},
            count,
            self.twins,
        )


class Announcements:
    """The newest announcement of every place that is known here, our own among them."""

    def __init__(self) -> None:
        """Nobody has promised anything yet."""
        self._known: dict[Place, Announcement] = {}
        self._own: Place | None = None
        self._first = NEVER
        self._made = NEVER
        """The newest version that this process has made."""
        self._lives: set[int] = set()
        self._twins: dict[int, None] = {}
        self._settling: dict[Place, tuple[Announcement, float]] = {}
        """Disputes that a promise has followed, and until when (`trio.current_time()`) they hold."""
        self._hash: bytes | None = None
        self.overtaken: Announcement | None = None
        """Our own registration's promise that this process never made: the folder is an old copy."""

    @property
    def own(self) -> Place | None:
        """Whose promises are ours."""
        return self._own

    def become(self, place: Place, *, start: int, above: int = 0, life: int = 0) -> None:
        """From now on our own promises are those of ``place``; ``start`` is the process's start number.

        Numbers begin ``above`` (the clock's milliseconds): a folder that was put back starts under a number again that
        another life of it has had, and what that one has promised must be told from what this one does. ``life`` is the
        incarnation under which the process runs.
        """
        self._own = place
        self._first = self._made = Version(start, above, life)
        self._lives.add(life)
        self._hash = None
        if self._twins:
            self._dispute(hlcs.pack(above))

    def live_on(self, life: int) -> None:
        """This process runs under another incarnation from now on."""
        self._first = self._first._replace(life=life)
        self._lives.add(life)

    def has_promised(self, vectors: Mapping[str, Mapping[int, int]]) -> bool:
        """Whether `announce` would do nothing, because our newest promise says all that.

        Never where another life of our place has promised something: then more has to be weighed.
        """
        own = None if self._own is None else self._known.get(self._own)
        if own is None or self.overtaken is not None:
            return False
        return all(own.vectors.get(name) == vector for name, vector in vectors.items())

    def announce(self, vectors: Mapping[str, Mapping[int, int]], *, hlc: int) -> None:
        """Promise ``vectors``, which the store has and nobody changes. Nothing happens if that was promised before.

        Nothing happens either while our place is disputed. Where our registration has promised more than this process
        (`overtaken`), the caller knows that ``vectors`` cover that; the new promise is then a later one.
        """
        if self._own is None or self._twins:
            return
        before = self._known.get(self._own)
        version = self._first if before is None else before.version
        if self.overtaken is not None and self.overtaken.version > version:
            before, version = None, self.overtaken.version
        known = {} if before is None else before.vectors
        changed = [name for name in sorted(vectors) if name not in known or known[name] != vectors[name]]
        if before is not None and not changed:
            return
        numbers = {} if before is None else dict(before.numbers)
        numbers |= {name: number for number, name in enumerate(changed, version.number + 1)}
        self._make(version, max(1, len(changed)), hlc, {**known, **vectors}, numbers)

    def dispute(self, twin: int, *, hlc: int) -> None:
        """The process ``twin`` runs as our registration too: from now on neither of us promises anything."""
        known = None if self._own is None else self._known.get(self._own)
        if twin in self._twins and (self._own is None or (known is not None and known.twins)):
            return
        self._note_twin(twin)
        if self._own is not None:
            self._dispute(hlc)

    def _note_twin(self, twin: int) -> None:
        self._twins.pop(twin, None)
        self._twins[twin] = None
        for old in list(self._twins)[:-TWINS_MAX]:
            del self._twins[old]

    def _dispute(self, hlc: int, told: Announcement | None = None) -> None:
        assert self._own is not None
        heard = [a for a in (self._known.get(self._own), self.overtaken, told) if a is not None]
        vectors: dict[str, Mapping[int, int]] = {}
        for announcement in heard:
            for name, vector in announcement.vectors.items():
                vectors[name] = version_vector.join(vectors.get(name, {}), vector)
        version = max([self._first, *(a.version for a in heard)])
        numbers = {name: number for number, name in enumerate(sorted(vectors), version.number + 1)}
        self._make(version, max(1, len(vectors)), hlc, vectors, numbers)

    def _make(
        self,
        after: Version,
        steps: int,
        hlc: int,
        vectors: Mapping[str, Mapping[int, int]],
        numbers: Mapping[str, int],
    ) -> None:
        assert self._own is not None
        self._made = Version(after.start, after.number + steps, self._first.life)
        self._put(Announcement(self._own, self._made, hlc, vectors, numbers, twins=tuple(self._twins)))

    def take(self, told: Announcement, counted: Container[Place]) -> bool:
        """Keep what a peer has passed on, if it is newer and of a place that counts. True if it was kept."""
        place = told.place
        known = self._known.get(place)
        if place == self._own:
            self._take_own(told, known)
            return False
        if place not in counted or (known is not None and known.version >= told.version):
            return False
        if known is not None and known.twins and not told.twins:
            self._settle(known)
        if known is None and len(self._known) >= ANNOUNCEMENTS_MAX:
            return False
        return self._join(known, told)

    def _join(self, known: Announcement | None, told: Announcement) -> bool:
        """Keep ``told``, which is newer than ``known``; False for a piece that supposes more than is known."""
        if known is None or not known.version.same_life(told.version):
            if told.since:
                return False
            self._put(told)
            return True
        if known.version.number < told.since:
            return False
        newer = [n for n, number in told.numbers.items() if number > known.numbers.get(n, 0)]
        self._put(
            Announcement(
                told.place,
                told.version,
                told.hlc,
                {**known.vectors, **{n: told.vectors[n] for n in newer}},
                {**known.numbers, **{n: told.numbers[n] for n in newer}},
                twins=told.twins,
            )
        )
        return True

    def _take_own(self, told: Announcement, known: Announcement | None) -> None:
        """Only this process speaks for itself: what is not from it was said by another life of this folder."""
        speaker = self.speaker(told)
        version = self._first if known is None else known.version
        later = told.version > version
        if speaker == SELF:
            return
        if speaker == TWIN or (self._twins and later):
            disputed = bool(self._twins)
            self._note_twin(told.version.life)
            if told.twins and later:
                # It says what we would say.
                self._join(known, told)
            elif later or not disputed:
                self._dispute(told.hlc, told)
            return
        if told.twins:
            self._settle(told)
        if told.version > max(version, NEVER if self.overtaken is None else self.overtaken.version):
            self.overtaken = told

    def speaker(self, told: Announcement) -> Speaker:
        """Who has made an announcement of our own place.

        A twin is known by this: it knows of this process, so it lives since this one has begun. Whoever does not may be
        a process that was over before, whose promises then say that our folder is an old copy.
        """
        if told.version.life in self._lives:
            # A copy of a running machine goes under our own incarnation, until that is found out.
            return SELF if told.version <= self._made else TWIN
        system = told.vectors.get(SYSTEM_PROJECT, {})
        if told.version.life in self._twins or any(i in system or i in told.twins for i in self._lives):
            return TWIN
        return EARLIER

    def _settle(self, dispute: Announcement) -> None:
        held = self._settling.get(dispute.place)
        if held is None or held[0].version < dispute.version:
            self._settling[dispute.place] = (dispute, trio.current_time() + DISPUTED_S)

    def follow(self, counted: Container[Place]) -> None:
        """Forget the promises of places that do not count any more."""
        for place in [p for p in self._known if p != self._own and p not in counted]:
            del self._known[place]
            self._settling.pop(place, None)
            self._hash = None

    def of(self, place: Place) -> Announcement | None:
        """The newest promise of ``place``; of one that has just been disputed, the dispute."""
        held = self._settling.get(place)
        if held is not None:
            if trio.current_time() < held[1]:
                return held[0]
            del self._settling[place]
        return self._known.get(place)

    def versions(self, *, own: bool = True) -> dict[Place, Version]:
        """What is known here, to compare with a peer. Without our ``own``, it tells what it has heard of us."""
        return {place: a.version for place, a in self._known.items() if own or place != self._own}

    def newer_than(self, versions: Mapping[Place, Version]) -> Iterator[Announcement]:
        """What a peer that knows ``versions`` lacks, in a fixed order."""
        for place in sorted(self._known):
            announcement = self._known[place]
            told = versions.get(place, NEVER)
            if announcement.version > told:
                same_life = told.same_life(announcement.version)
                yield announcement.after(told.number if same_life else 0)

    def digest(self) -> bytes:
        """Equal at two nodes iff they know the same promises."""
        if self._hash is None:
            flat = [[*place, *self._known[place].version] for place in sorted(self._known)]
            self._hash = blake2b(msgpack.packb(flat), digest_size=HASH_BYTES).digest()
        return self._hash

    def _put(self, announcement: Announcement) -> None:
        self._known[announcement.place] = announcement
        self._hash = None
