"""One project's state on one node: the fold of its log up to the version vector.

A replica is fed changes (`apply`) in any causal order and is, for equal version vectors, equal to every other one.
It also knows, without keeping the log, everything that decides whether a further change fits: its vector, the head of
each incarnation's hash chain and how far each incarnation's ``deps`` have grown. Its root hash is kept up to date
with every change, so that "equal vectors, equal state" can be checked all the time.

Pure and synchronous: a change becomes visible as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from sys import intern
from typing import Any, Final, NamedTuple

import msgpack

from vexil.crdt import cell as cells
from vexil.crdt import change as changes
from vexil.crdt import payload as payloads
from vexil.crdt.change import CHAIN_BYTES, GENESIS, NO_GENERATION, Change, Dot, Operation
from vexil.crdt.payload import is_tombstone

EXISTS = "exists"
"""The field of a generation whose live value says that the generation exists."""
NEW_GENERATION: Final = (-1, -1)
"""As the generation of a `CellWrite`: the dot of the change that will carry it."""
HASH_BITS = 128
HASH_BYTES = HASH_BITS // 8
_HASH_MASK = (1 << HASH_BITS) - 1
_HEADER_VERSION = 1
_pack = msgpack.Packer(autoreset=True).pack
_unpack = msgpack.unpackb
_from_bytes = int.from_bytes

Cells = dict[str, bytes]
Generations = dict[Dot, Cells]


class Verdict(Enum):
    """What a change is to a replica."""

    NEXT = "next"
    """It can be applied now."""
    DUPLICATE = "duplicate"
    """It has been applied."""
    WAITING = "waiting"
    """A change before it, or one that its author had seen, is not here yet."""
    FORK = "fork"
    """Another change with the same dot, or with another past of the same incarnation, is here."""
    OVERCLAIM = "overclaim"
    """It says that it replaces a lane which its author cannot have seen."""


@dataclass(frozen=True, slots=True)
class CellWrite:
    """What an author wants to be in one cell: JSON data or `payload.TOMBSTONE`."""

    object: str
    generation: Dot
    field: str
    value: Any


class TouchedCell(NamedTuple):
    """A cell that a change wrote, and the incarnations whose part of it may be another now."""

    object: str
    generation: Dot
    field: str
    incarnations: frozenset[int]


class Replica:
    """The cells, version vector and root hash of one project. Not thread-safe; no method yields."""

    __slots__ = ("_chains", "_deps", "objects", "root", "vv")

    def __init__(self) -> None:
        """An empty project: the state of the empty log."""
        self.objects: dict[str, Generations] = {}
        self.vv: dict[int, int] = {}
        self.root = 0
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
                if self._counts(generation, generations[generation]):
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
        for name, generation, field, payload, seen in change.operations:
            if last != (name, generation):
                last = (name, generation)
                fields = self.objects.setdefault(name, {}).setdefault(generation, {})
                counts = self._counts(generation, fields)
            # Unpacked once, summed before and after: this loop is the cost of every received change.
            flat = cells.unpacked(fields.get(field, cells.EMPTY))
            sum_before = _sum(name, generation, field, flat)
            cells.put(flat, dot=dot, hlc=hlc, payload=payload, replaced=seen)
            sum_after = _sum(name, generation, field, flat)
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
                    _sum(name, generation, f, cells.unpacked(c)) for f, c in fields.items() if f != EXISTS
                )
                root += others + sum_after if now_counts else 0
                root -= others + sum_before if counts else 0
            counts = now_counts
        self.root = root & _HASH_MASK
        self.vv[incarnation] = change.seq
        self._chains[incarnation] = change.chain
        if change.deps:
            self._deps.setdefault(incarnation, {}).update(change.deps)

    @staticmethod
    def _counts(generation: Dot, fields: Mapping[str, bytes]) -> bool:
        return generation == NO_GENERATION or cells.has_value(fields.get(EXISTS, cells.EMPTY))

    # -- the fold in a store

    def header(self) -> bytes:
        """What a stored fold needs beside its cells: vector, chain heads, deps, root. Opaque, versioned."""
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
        return replica

    def fields(self, name: str, generation: Dot) -> Cells:
        """Where a stored fold's cells of one generation go: the live dictionary, made if need be.

        Only for loading, with a header that was or will be loaded: the root hash does not follow. Field names should
        be interned.
        """
        return self.objects.setdefault(name, {}).setdefault(generation, {})

    def load_header(self, header: bytes) -> None:
        """Take vector, chain heads, deps and root hash from ``header``. Raises ValueError if it is not one."""
        try:
            version, heads, deps, root = _unpack(header)[:4]
            if version != _HEADER_VERSION:
                raise ValueError(f"version {version}")
            vv = {i: seq for i, seq, _ in heads}
            chains = {i: chain for i, _, chain in heads}
            all_deps = {i: dict(zip(flat[::2], flat[1::2], strict=True)) for i, flat in deps}
            numbers = [*vv, *vv.values(), *all_deps, *(x for _, flat in deps for x in flat)]
            if not all(type(number) is int and number > 0 for number in numbers):
                raise ValueError("an incarnation or seq is not a positive integer")
            if not all(
                type(digest) is bytes and len(digest) == CHAIN_BYTES for digest in (*chains.values(), root)
            ):
                raise ValueError("a hash is not of 16 bytes")
            self.vv, self._chains, self._deps, self.root = vv, chains, all_deps, _from_bytes(root, "big")
        except Exception as error:  # noqa: BLE001 - msgpack raises a dozen types on junk
            raise ValueError(f"not a fold header: {error}") from None


class Frontier:
    """What a replica will have once some changes that are on their way to the journal are applied.

    A page of received changes is judged as a whole before any of it is journalled, and journalled before any of it
    is applied; this is the vector in between.
    """

    __slots__ = ("_chains", "_deps", "_forked", "_replica", "_vv")

    def __init__(self, replica: Replica, forked: Container[int] = ()) -> None:
        """The frontier at the replica's present state.

        ``forked`` are incarnations with two histories. Whoever has the one cannot take the other, so what a later
        change has seen of them is not waited for: else it would never get to a node of the other branch.
        """
        self._replica = replica
        self._forked = forked
        self._vv: dict[int, int] = {}
        self._chains: dict[int, bytes] = {}
        self._deps: dict[int, dict[int, int]] = {}

    def _known(self, incarnation: int) -> int:
        return self._vv.get(incarnation) or self._replica.vv.get(incarnation, 0)

    def verdict(self, change: Change) -> Verdict:
        """What ``change`` is to the replica once everything that was admitted here is applied. No effect."""
        incarnation = change.incarnation
        known = self._known(incarnation)
        head = self._chains.get(incarnation) or self._replica.head(incarnation)
        if change.seq <= known:
            return Verdict.FORK if change.seq == known and change.chain != head else Verdict.DUPLICATE
        if change.seq > known + 1:
            return Verdict.WAITING
        if change.previous != head:
            return Verdict.FORK
        for other, seq in change.deps:
            if self._known(other) < seq and other not in self._forked:
                return Verdict.WAITING
        past: Mapping[int, int] | None = None
        for operation in change.operations:
            if operation.seen:
                past = past or self._past(change, known)
                for other, seq in operation.seen:
                    # Judged by what the author had seen and not by what is here: every node must say the same.
                    if past.get(other, 0) < seq:
                        return Verdict.OVERCLAIM
        return Verdict.NEXT

    def _past(self, change: Change, known: int) -> Mapping[int, int]:
        """All that the author of ``change``, the next one of its incarnation, says to have seen."""
        incarnation = change.incarnation
        past = dict(self._replica.deps_of(incarnation))
        if incarnation in self._deps:
            past.update(self._deps[incarnation])
        past.update(change.deps)
        past[incarnation] = known
        return past

    def admit(self, change: Change) -> None:
        """``change`` has been found `Verdict.NEXT` and will be applied in this order."""
        self._vv[change.incarnation] = change.seq
        self._chains[change.incarnation] = change.chain
        if change.deps:
            self._deps.setdefault(change.incarnation, {}).update(change.deps)


class Pen:
    """One incarnation's hand on one replica: it hands out its dots and links its chain.

    Changes may be written ahead of being applied (a batch that is journalled together), as long as no two of them
    touch one object; all of them are then based on the state that the replica has now.
    """

    __slots__ = ("_chain", "_deps", "_replica", "_seq", "incarnation")

    def __init__(self, replica: Replica, incarnation: int) -> None:
        """The pen of ``incarnation``, at the replica's newest change of it."""
        self.incarnation = incarnation
        self._replica = replica
        self.rewind()

    def rewind(self) -> None:
        """Forget what was written ahead: none of it has become durable."""
        self._seq = self._replica.vv.get(self.incarnation, 0)
        self._chain = self._replica.head(self.incarnation)
        self._deps = dict(self._replica.deps_of(self.incarnation))

    @property
    def next_dot(self) -> Dot:
        """The dot that the next change will have."""
        return (self.incarnation, self._seq + 1)

    def write(
        self,
        writes: Sequence[CellWrite],
        *,
        hlc: int,
        author: str,
        message: str = "",
        idempotency: tuple[str, bytes] | None = None,
        before: Callable[[CellWrite], object] | None = None,
    ) -> Change:
        """The change that puts ``writes`` on top of the replica's present state; at most one write per cell.

        It replaces every lane that is live now, its deps are the replica's vector. Nothing is applied. ``before``
        says what the node shows in a cell. Raises ValueError or TypeError on a value that is not JSON data.
        """
        dot = self.next_dot
        replica = self._replica
        operations = []
        touched = set()
        for w in writes:
            generation = dot if w.generation == NEW_GENERATION else w.generation
            address = (w.object, generation, w.field)
            assert address not in touched, f"two writes of one cell: {address}"
            touched.add(address)
            # The own lane needs no `seen`: the higher seq replaces it.
            seen = cells.live_dots(replica.cell(w.object, generation, w.field), without=dot[0])
            operations.append(
                Operation(w.object, generation, w.field, payloads.encode(author, w.value), seen)
            )
        deps = {i: seq for i, seq in replica.vv.items() if i != dot[0] and seq > self._deps.get(i, 0)}
        change = changes.encode(
            dot=dot,
            hlc=hlc,
            deps=deps,
            previous=self._chain,
            author=author,
            message=message,
            idempotency=idempotency,
            operations=operations,
            before=() if before is None else _bounded([before(w) for w in writes]),
        )
        self._seq += 1
        self._chain = change.chain
        self._deps.update(deps)
        return change


BEFORE_BYTES_MAX = 1024


def _bounded(values: list[object]) -> list[object]:
    """``values`` with those left out (None) that would take them together over `BEFORE_BYTES_MAX`."""
    left = BEFORE_BYTES_MAX
    kept: list[object] = []
    for value in values:
        size = len(_pack(value)) if value is not None else 0
        kept.append(value if size <= left else None)
        left -= size if size <= left else 0
    return kept


def touched(change: Change) -> list[TouchedCell]:
    """The cells that ``change`` wrote, for a view or a store that follows the replica."""
    own = frozenset((change.incarnation,))
    return [
        TouchedCell(o.object, o.generation, o.field, own.union([i for i, _ in o.seen]) if o.seen else own)
        for o in change.operations
    ]


def _records(name: str, generation: Dot, field: str, packed: bytes) -> Iterator[bytes]:
    flat = cells.unpacked(packed)
    for i in range(0, len(flat), cells.WIDTH):
        if flat[i + 1] > flat[i + 4] and not is_tombstone(flat[i + 3]):
            yield _pack((name, *generation, field, *flat[i : i + 4]))


def _digest(record: bytes) -> int:
    return _from_bytes(blake2b(record, digest_size=HASH_BYTES).digest(), "big")


def _sum(name: str, generation: Dot, field: str, flat: cells.Flat) -> int:
    """The cell's part of the root hash, should its generation count: the sum over `_records`, without a generator."""
    total = 0
    creator, created = generation
    for i in range(0, len(flat), cells.WIDTH):
        incarnation, seq, hlc, payload, seen = flat[i : i + 5]
        if seq > seen and not is_tombstone(payload):
            record = _pack((name, creator, created, field, incarnation, seq, hlc, payload))
            total += _from_bytes(blake2b(record, digest_size=HASH_BYTES).digest(), "big")
    return total
