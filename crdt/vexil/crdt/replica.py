"""One project's state on one node: the fold of its log up to the version vector.

A replica is fed changes (`apply`) in any causal order and is, for equal version vectors, equal to every other one.
It also knows, without keeping the log, everything that decides whether a further change fits: its vector, the head of
each incarnation's hash chain and how far each incarnation's ``deps`` have grown. Its root hash is kept up to date
with every change, so that "equal vectors, equal state" can be checked all the time.

Pure and synchronous: a change becomes visible as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from sys import intern
from typing import Final, NamedTuple

import msgpack

from vexil.crdt import cell as cells
from vexil.crdt import change as changes
from vexil.crdt import retired as retirement
from vexil.crdt import version_vector
from vexil.crdt.cell import Flat
from vexil.crdt.change import CHAIN_BYTES, GENESIS, NO_GENERATION, Change, Dot
from vexil.crdt.cut import CUTS_MAX, Cut, TooManyCuts
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.garbage import FoldRemoval, collected_object
from vexil.crdt.payload import is_tombstone
from vexil.crdt.schema import RETIRED_OBJECT

EXISTS: Final = changes.EXISTS
"""The field of a generation whose live value says that the generation exists."""
HASH_BITS = 128
HASH_BYTES = HASH_BITS // 8
_HASH_MASK = (1 << HASH_BITS) - 1
_HEADER_VERSION = 1
_pack = msgpack.Packer(autoreset=True).pack
_unpack = msgpack.unpackb
_from_bytes = int.from_bytes

Cells = dict[str, bytes]
Generations = dict[Dot, Cells]


class TouchedCell(NamedTuple):
    """A cell that a change wrote, and the incarnations whose part of it may be another now."""

    object: str
    generation: Dot
    field: str
    incarnations: frozenset[int]


class Replica:
    """The cells, version vector and root hash of one project. Not thread-safe; no method yields."""

    __slots__ = ("_chains", "_cuts", "_deps", "above_floor", "floor", "objects", "retired", "root", "vv")

    def __init__(self) -> None:
        """An empty project: the state of the empty log."""
        self.objects: dict[str, Generations] = {}
        self.vv: dict[int, int] = {}
        self.floor: dict[int, int] = {}
        """Up to where garbage may have been taken out of this state."""
        self.retired: dict[int, int] = {}
        """Incarnations that write no more and are in no vector, with their final seq. What the cells say."""
        self.root = 0
        self.above_floor: set[int] = set()
        """Incarnations whose author is known to have seen all of the floor: what an author has seen only grows."""
        self._cuts: list[Cut] = []
        self._chains: dict[int, bytes] = {}
        self._deps: dict[int, dict[int, int]] = {}

    # -- reading

    def cells(self, name: str) -> Mapping[Dot, Mapping[str, bytes]]:
        """The object's cells by generation and field; empty for an unknown object. Do not keep or change it."""
        return self.objects.get(name, {})

    def cell(self, name: str, generation: Dot, field: str) -> bytes:
        """One packed cell; `cell.EMPTY` if nothing was ever written to it."""
        return self.objects.get(name, {}).get(generation, {}).get(field, cells.EMPTY)

    def head(self, incarnation: int) -> bytes:
        """Chain hash of the incarnation's newest applied change; `change.GENESIS` if there is none."""
        return self._chains.get(incarnation, GENESIS)

    def heads(self) -> Mapping[int, bytes]:
        """Chain hash per incarnation in the vector. Do not keep or change it."""
        return self._chains

    def deps_of(self, incarnation: int) -> Mapping[int, int]:
        """All that the incarnation's newest applied change had seen, other incarnations only."""
        return self._deps.get(incarnation, {})

    def known(self, incarnation: int) -> int:
        """The seq of the incarnation's newest change that is in this state; 0 if there is none."""
        return self.vv.get(incarnation) or self.retired.get(incarnation, 0)

    def covers(self, vv: Mapping[int, int]) -> bool:
        """Whether everything in ``vv`` is in this state. All that a retired incarnation wrote is."""
        mine, retired = self.vv, self.retired
        if vv == mine:
            return True
        for i, seq in vv.items():  # noqa: SIM110 - a generator costs more than what it looks at
            if mine.get(i, 0) < seq and i not in retired:
                return False
        return True

    def cut(self) -> Cut:
        """This state as it is now, for as long as the cut is open. Raises TooManyCuts over `CUTS_MAX`."""
        if len(self._cuts) >= CUTS_MAX:
            raise TooManyCuts(f"{CUTS_MAX} cuts are open")
        cut = Cut(
            vv=self.vv,
            floor=self.floor,
            header=self.header(),
            objects=self.objects,
            on_close=self._cuts.remove,
        )
        self._cuts.append(cut)
        return cut

    def root_hash(self) -> str:
        """Hex hash of the live state: equal for equal version vectors."""
        return f"{self.root:032x}"

    def vv_hash(self) -> str:
        """Hex hash of the version vector and the chain heads: equal vectors of forked pasts differ."""
        flat = [(i, seq, self._chains.get(i, GENESIS)) for i, seq in sorted(self.vv.items())]
        return blake2b(_pack(flat), digest_size=HASH_BYTES).hexdigest()

    def canonical(self) -> Iterator[bytes]:
        """The live state as bytes, in one order: equal states give equal bytes.

        One item per live lane that is not a tombstone, of live generations; what the root hash sums up.
        """
        for name in sorted(self.objects):
            generations = self.objects[name]
            for generation in sorted(generations):
                if generation_counts(generation, generations[generation]):
                    for field in sorted(generations[generation]):
                        yield from _records(name, generation, field, generations[generation][field])

    def recomputed_root(self) -> int:
        """The root hash from scratch: what ``root`` must be (a check of the incremental one)."""
        return sum(_digest(record) for record in self.canonical()) & _HASH_MASK

    # -- taking changes in

    def verdict(self, change: Change) -> Verdict:
        """Whether ``change`` fits on this state. It has no effect."""
        return Frontier(self).verdict(change)

    def apply(self, change: Change) -> None:
        """Fold ``change`` in, as a whole. The caller has been told `Verdict.NEXT`."""
        incarnation = change.incarnation
        assert change.seq == self.vv.get(incarnation, 0) + 1, "a change must be next of its incarnation"
        dot = (incarnation, change.seq)
        hlc = change.hlc
        root = self.root
        last: tuple[str, Dot] | None = None
        fields: Cells = {}
        counts = False
        retires = False
        for name, generation, field, payload, seen in change.operations:
            if last != (name, generation):
                last = (name, generation)
                if self._cuts:
                    self._keep(name)
                retires = retires or name == RETIRED_OBJECT
                fields = self.objects.setdefault(name, {}).setdefault(generation, {})
                counts = generation_counts(generation, fields)
            # Unpacked once, summed before and after: this loop is the cost of every received change.
            flat = cells.unpacked(fields.get(field, cells.EMPTY))
            sum_before = cell_sum(name, generation, field, flat)
            cells.put(flat, dot=dot, hlc=hlc, payload=payload, replaced=seen)
            if len(flat) > cells.WIDTH * (1 + len(seen)) and (
                removed := cells.tombstones_beside(flat, incarnation)
            ):
                self._replace_collected(flat, change, removed)
            sum_after = cell_sum(name, generation, field, flat)
            fields[intern(field)] = cells.pack(flat)
            if field != EXISTS or generation == NO_GENERATION:
                if counts:
                    root += sum_after - sum_before
                continue
            # Existence decides whether the generation's other cells count at all.
            now_counts = cells.holds_value(flat)
            if counts and now_counts:
                root += sum_after - sum_before
            elif counts or now_counts:
                others = sum(
                    cell_sum(name, generation, f, cells.unpacked(c)) for f, c in fields.items() if f != EXISTS
                )
                root += others + sum_after if now_counts else 0
                root -= others + sum_before if counts else 0
            counts = now_counts
        self.root = root & _HASH_MASK
        self.vv[incarnation] = change.seq
        self._chains[incarnation] = change.chain
        if change.deps:
            self._deps.setdefault(incarnation, {}).update(change.deps)
            if self.retired:
                self._forget(incarnation, self.retired)
        if retires:
            self._retire(retirement.of_change(change))

    def _replace_collected(self, flat: Flat, change: Change, removed: Sequence[Dot]) -> None:
        """Tombstones that the author had seen are replaced, also when they were garbage there and he saw them no more.

        A retired incarnation is in the past of every change that is new anywhere.
        """
        past = dict(self.deps_of(change.incarnation))
        past.update(change.deps)
        for incarnation, seq in removed:
            if past.get(incarnation, 0) >= seq or incarnation in self.retired:
                cells.replace(flat, (incarnation, seq), by=change.dot)

    def _keep(self, name: str) -> None:
        """The object is about to be changed: what open cuts show of it stays as it is."""
        generations = self.objects.get(name)
        # Every one of them has to be told: no short cut.
        shown = sum(cut.keep(name, generations) for cut in self._cuts)
        if shown and generations is not None:
            self.objects[name] = {generation: fields.copy() for generation, fields in generations.items()}

    # -- retirement and garbage

    def _retire(self, finals: Mapping[int, int]) -> None:
        """Take incarnations out of every vector, as far as their final seq is what is known of them here."""
        gone = {i: n for i, n in finals.items() if self.vv.get(i, n) == n and i not in self.retired}
        if not gone:
            return
        self.retired.update(gone)
        for incarnation in gone:
            self._chains.pop(incarnation, None)
            self._deps.pop(incarnation, None)
            self.vv.pop(incarnation, None)
            self.floor.pop(incarnation, None)
        for incarnation in list(self._deps):
            self._forget(incarnation, gone)

    def _forget(self, incarnation: int, gone: Mapping[int, int]) -> None:
        """Leave ``gone`` out of what the incarnation has seen."""
        deps = self._deps[incarnation]
        for other in deps.keys() & gone.keys():
            del deps[other]
        if not deps:
            del self._deps[incarnation]

    def settle_retired(self) -> None:
        """After a load: the retired table is what the cells say, as far as the vector says that it is known.

        Cells may be ahead of their header; what such a cell retires may have changes that are yet to be read back.
        """
        by_author: dict[int, list[tuple[int, int, int]]] = {}
        for (author, seq), incarnation, final in retirement.of_cells(
            self.cells(RETIRED_OBJECT).get(NO_GENERATION, {})
        ):
            by_author.setdefault(author, []).append((seq, incarnation, final))
        finals: dict[int, int] = {}
        authors = list(by_author)
        # Who has retired others may be retired by now: its claims count as soon as its own end is known.
        for author in authors:
            reached = self.known(author) or finals.get(author, 0)
            for seq, incarnation, final in by_author.get(author, ()):
                if seq > reached or self.vv.get(incarnation, final) != final:
                    continue
                if final < finals.get(incarnation, final + 1):
                    finals[incarnation] = final
                    if incarnation in by_author:
                        authors.append(incarnation)
        self._retire(finals)

    def advance_floor(self, stable: Mapping[int, int]) -> None:
        """Garbage up to ``stable`` may be collected from now on. This state covers it, as every other one does."""
        assert self.covers(stable), "nobody can collect what he has not seen"
        higher = {i: seq for i, seq in stable.items() if seq > self.floor.get(i, 0) and i not in self.retired}
        if higher:
            self.floor.update(higher)
            self.above_floor.clear()

    def collect(self, name: str, stable: Mapping[int, int]) -> list[FoldRemoval]:
        """Take the object's garbage out of it. The floor has been advanced to ``stable`` and is stored.

        Returns the rows that a store must drop. Neither the root hash nor anything that is read changes.
        """
        retired = self.retired

        def is_stable(incarnation: int, seq: int) -> bool:
            return stable.get(incarnation, 0) >= seq or retired.get(incarnation, 0) >= seq

        changed, removals = collected_object(name, self.cells(name), is_stable)
        if removals:
            self.put_cells(name, changed)
        return removals

    def adopt(self, other: Replica, *, objects: Mapping[str, Generations], root: int) -> None:
        """Become the join of this state and ``other``, of which ``objects`` are the cells that differ from these.

        For `merge.Merge`, which has made ``objects`` and ``root`` and knows that the two may be joined.
        """
        for cut in self._cuts:
            for name in objects:
                cut.keep(name, self.objects.get(name))
        self.objects.update(objects)
        for incarnation, seq in other.vv.items():
            if incarnation not in self.retired:
                if seq > self.vv.get(incarnation, 0):
                    self.vv[incarnation] = seq
                    self._chains[incarnation] = other.head(incarnation)
                if theirs := other.deps_of(incarnation):
                    mine = self.deps_of(incarnation)
                    self._deps[incarnation] = version_vector.join(mine, theirs)
                    self._forget(incarnation, self.retired)
        for incarnation, final in other.retired.items():
            # Its changes have come with the cells, be it without their rows.
            if incarnation not in self.retired:
                self.vv[incarnation] = final
        self._retire(other.retired)
        self.advance_floor(other.floor)
        self.root = root

    def put_cells(self, name: str, changed: Mapping[Dot, Mapping[str, bytes]]) -> None:
        """Put cells in the place of the object's own; `cell.EMPTY` takes one away. The root hash does not follow."""
        if self._cuts:
            self._keep(name)
        generations = self.objects.setdefault(name, {})
        for generation, fields in changed.items():
            present = generations.setdefault(generation, {})
            for field, packed in fields.items():
                if packed == cells.EMPTY:
                    present.pop(field, None)
                else:
                    present[intern(field)] = packed
            if not present:
                del generations[generation]
        if not generations:
            del self.objects[name]

    # -- the fold in a store

    def header(self) -> bytes:
        """What a stored fold needs beside its cells: vector, chain heads, deps, root, floor. Opaque, versioned.

        The retired table is not in it: `settle_retired` reads it from the cells.
        """
        return bytes(
            _pack(
                [
                    _HEADER_VERSION,
                    [[i, seq, self._chains[i]] for i, seq in sorted(self.vv.items())],
                    [
                        [i, [x for pair in sorted(d.items()) for x in pair]]
                        for i, d in sorted(self._deps.items())
                    ],
                    self.root.to_bytes(HASH_BYTES, "big"),
                    [item for pair in sorted(self.floor.items()) for item in pair],
                ]
            )
        )

    @classmethod
    def load(cls, header: bytes, fold: Iterable[tuple[str, Dot, str, bytes]]) -> Replica:
        """The replica of a stored fold: ``(object, generation, field, cell)``, each cell once.

        The root hash is the header's: `recomputed_root` tells whether the cells are still those that it was made of.
        Raises ValueError if the header is not of this version.
        """
        replica = cls()
        replica.load_header(header)
        for name, generation, field, packed in fold:
            replica.fields(name, generation)[intern(field)] = packed
        replica.settle_retired()
        return replica

    def fields(self, name: str, generation: Dot) -> Cells:
        """Where a stored fold's cells of one generation go: the live dictionary, made if need be.

        Only for loading, with a header that was or will be loaded: the root hash does not follow. Field names should
        be interned.
        """
        return self.objects.setdefault(name, {}).setdefault(generation, {})

    def load_header(self, header: bytes) -> None:
        """Take vector, chain heads, deps, root hash and floor from ``header``. Raises ValueError if it is not one."""
        try:
            version, heads, deps, root, *newer = _unpack(header)
            if version != _HEADER_VERSION:
                raise ValueError(f"version {version}")
            vv = {i: seq for i, seq, _ in heads}
            chains = {i: chain for i, _, chain in heads}
            all_deps = {i: dict(zip(flat[::2], flat[1::2], strict=True)) for i, flat in deps}
            floor = dict(zip(newer[0][::2], newer[0][1::2], strict=True)) if newer else {}
            numbers = [*vv, *vv.values(), *all_deps, *(x for _, flat in deps for x in flat)]
            numbers += [*floor, *floor.values()]
            if not all(type(number) is int and number > 0 for number in numbers):
                raise ValueError("an incarnation or seq is not a positive integer")
            if not all(
                type(digest) is bytes and len(digest) == CHAIN_BYTES for digest in (*chains.values(), root)
            ):
                raise ValueError("a hash is not of 16 bytes")
            self.vv, self._chains, self._deps, self.root = vv, chains, all_deps, _from_bytes(root, "big")
            self.floor = floor
            self.above_floor.clear()
        except Exception as error:  # noqa: BLE001 - msgpack raises a dozen types on junk
            raise ValueError(f"not a fold header: {error}") from None


def touched(change: Change) -> list[TouchedCell]:
    """The cells that ``change`` wrote, for a view or a store that follows the replica."""
    own = frozenset((change.incarnation,))
    return [
        TouchedCell(o.object, o.generation, o.field, own.union([i for i, _ in o.seen]) if o.seen else own)
        for o in change.operations
    ]


def object_sum(name: str, generations: Mapping[Dot, Mapping[str, bytes]]) -> int:
    """The object's part of the root hash, which is the sum of all of them modulo 2**`HASH_BITS`."""
    return sum(
        cell_sum(name, generation, field, cells.unpacked(packed))
        for generation, fields in generations.items()
        if generation_counts(generation, fields)
        for field, packed in fields.items()
    )


def _records(name: str, generation: Dot, field: str, packed: bytes) -> Iterator[bytes]:
    flat = cells.unpacked(packed)
    for i in range(0, len(flat), cells.WIDTH):
        if flat[i + 1] > flat[i + 4] and not is_tombstone(flat[i + 3]):
            yield _pack((name, *generation, field, *flat[i : i + 4]))


def _digest(record: bytes) -> int:
    return _from_bytes(blake2b(record, digest_size=HASH_BYTES).digest(), "big")


def generation_counts(generation: Dot, fields: Mapping[str, bytes]) -> bool:
    """Whether the generation is alive, so that its cells are in the root hash."""
    return generation == NO_GENERATION or cells.has_value(fields.get(EXISTS, cells.EMPTY))


def cell_sum(name: str, generation: Dot, field: str, flat: cells.Flat) -> int:
    """The cell's part of the root hash, should its generation count: the sum over `_records`, without a generator."""
    total = 0
    creator, created = generation
    for i in range(0, len(flat), cells.WIDTH):
        incarnation, seq, hlc, payload, seen = flat[i : i + 5]
        if seq > seen and not is_tombstone(payload):
            record = _pack((name, creator, created, field, incarnation, seq, hlc, payload))
            total += _from_bytes(blake2b(record, digest_size=HASH_BYTES).digest(), "big")
    return total
