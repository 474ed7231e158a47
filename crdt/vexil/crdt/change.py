"""The change: the unit of writing, of gossip and of the log, and its one encoding.

A change is encoded once, by its author's node, and those bytes are what every node stores, hashes, forwards and keeps
as its audit log: fields that a newer version appends are therefore never lost. Each incarnation's changes form a hash
chain (``previous``), so two histories under one incarnation cannot be mistaken for each other. ``deps`` only grow
along an incarnation and travel as the difference to its previous change.

Encoding: a msgpack array ``[version, incarnation, seq, hlc, deps, previous, author, message, idempotency key,
fingerprint, operations, before, …]``; deps and ``seen`` are flat ``[incarnation, seq, …]``; an operation is ``[object,
generation incarnation, generation seq, field, payload, seen, …]``. Trailing items are of newer versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

import msgpack

VERSION = 1
CHANGE_BYTES_MAX = 2 << 20
"""Over the limit of a change set (1 MiB) by what the envelope, ``seen`` and ``before`` may add."""
OPERATIONS_MAX = 4096
"""What a reader takes; authors are held to the lower limit of a change set."""
TEXT_CHARACTERS_MAX = 64 << 10
CHAIN_BYTES = 16
GENESIS: Final = bytes(CHAIN_BYTES)
"""``previous`` of an incarnation's first change."""
NO_GENERATION: Final = (0, 0)
"""The generation of cells that belong to none."""
EXISTS: Final = "exists"
"""The field of a generation whose live value says that the generation exists."""

INCARNATION_MAX: Final = (1 << 64) - 1
SEQ_MAX: Final = (1 << 62) - 1
_INCARNATION_MAX = INCARNATION_MAX
_SEQ_MAX = SEQ_MAX
_ITEMS_MAX = 1 << 19
"""Of any array or map in a change: a flat vector of as many incarnations as a peer may have."""
_ID_DIGITS = 16
_SEQ_DIGITS_MAX = 19
_FIELDS = 12
_OPERATION_FIELDS = 6
_pack = msgpack.Packer(autoreset=True).pack
# Without the constructor's detour: every received change makes some.
_new_operation = tuple.__new__

Dot = tuple[int, int]


class Undecodable(ValueError):
    """The bytes are not a change that this version can take in; it must be kept aside, not applied."""


class TooLarge(ValueError):
    """A change that every reader would refuse must not be written."""


class Operation(NamedTuple):
    """A write of one cell, and the dots of the live lanes that it replaces."""

    object: str
    generation: Dot
    field: str
    payload: bytes
    seen: tuple[Dot, ...]


@dataclass(slots=True)
class Change:
    """One decoded change; ``raw`` is its encoding and the only thing that is ever stored or sent.

    ``deps`` is the difference to the incarnation's previous change, its own incarnation left out. ``before`` holds,
    per operation, what the accepting node showed (bounded; None where it was cut or absent). Treat as immutable: it
    is not a frozen dataclass because decoding one is on the path of every received change.
    """

    incarnation: int
    seq: int
    hlc: int
    deps: tuple[Dot, ...]
    previous: bytes
    author: str
    message: str
    idempotency: tuple[str, bytes] | None
    operations: tuple[Operation, ...]
    before: tuple[object, ...]
    raw: bytes
    _chain: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def dot(self) -> Dot:
        """``(incarnation, seq)``: the change's name within its project."""
        return (self.incarnation, self.seq)

    @property
    def id(self) -> str:
        """The dot as the API shows it."""
        return render_id(self.dot)

    @property
    def chain(self) -> bytes:
        """The hash of this change and all before it of its incarnation."""
        if not self._chain:
            self._chain = chain_hash(self.previous, self.raw)
        return self._chain


def render_id(dot: Dot) -> str:
    """``<16 hex digits>:<seq>``."""
    return f"{dot[0]:016x}:{dot[1]}"


def parse_id(text: str) -> Dot | None:
    """The inverse of ``render_id``; None if ``text`` is no change id."""
    incarnation, colon, seq = text.partition(":")
    if len(incarnation) != _ID_DIGITS or not colon or not seq.isdecimal() or len(seq) > _SEQ_DIGITS_MAX:
        return None
    try:
        dot = (int(incarnation, 16), int(seq))
    except ValueError:
        return None
    return dot if render_id(dot) == text else None


def chain_hash(previous: bytes, raw: bytes) -> bytes:
    """The next link of an incarnation's chain: BLAKE2b-128 over the previous link and the change's bytes."""
    return blake2b(raw, digest_size=CHAIN_BYTES, key=previous).digest()


def encode(
    *,
    dot: Dot,
    hlc: int,
    deps: Mapping[int, int],
    previous: bytes,
    author: str,
    message: str,
    idempotency: tuple[str, bytes] | None,
    operations: Sequence[Operation],
    before: Sequence[object] = (),
) -> Change:
    """The change with its canonical encoding.

    Raises TooLarge over `CHANGE_BYTES_MAX` or `OPERATIONS_MAX`, ValueError or TypeError on what msgpack cannot say.
    """
    ordered = tuple(sorted(deps.items()))
    key, fingerprint = idempotency or (None, None)
    body = (
        VERSION,
        dot[0],
        dot[1],
        hlc,
        [item for pair in ordered for item in pair],
        previous,
        author,
        message,
        key,
        fingerprint,
        [
            (o.object, *o.generation, o.field, o.payload, [item for pair in o.seen for item in pair])
            for o in operations
        ],
        list(before),
    )
    raw = bytes(_pack(body))
    if len(raw) > CHANGE_BYTES_MAX or len(operations) > OPERATIONS_MAX:
        raise TooLarge(f"{len(operations)} cells in {len(raw)} bytes: no reader would take it")
    return Change(
        dot[0],
        dot[1],
        hlc,
        ordered,
        previous,
        author,
        message,
        idempotency,
        tuple(operations),
        tuple(before),
        raw,
    )


def decode(raw: bytes) -> Change:
    """The change that ``raw`` encodes. Raises Undecodable: nothing else, whatever the bytes."""
    if len(raw) > CHANGE_BYTES_MAX:
        raise Undecodable(f"{len(raw)} bytes, more than {CHANGE_BYTES_MAX}")
    try:
        body = msgpack.unpackb(raw, timestamp=0, max_array_len=_ITEMS_MAX, max_map_len=_ITEMS_MAX)
        if type(body) is not list or len(body) < _FIELDS:
            raise Undecodable("not an array of at least twelve")
        version, incarnation, seq, hlc, deps, previous, author, message, key, fingerprint, ops, before = body[
            :_FIELDS
        ]
        if not (
            version == VERSION
            and type(incarnation) is int
            and type(seq) is int
            and type(hlc) is int
            and 0 < incarnation <= _INCARNATION_MAX
            and 0 < seq <= _SEQ_MAX
            and 0 <= hlc <= _INCARNATION_MAX
            and type(previous) is bytes
            and len(previous) == CHAIN_BYTES
            and type(author) is str
            and type(message) is str
            and type(ops) is list
            and type(before) is list
            and len(ops) <= OPERATIONS_MAX
        ):
            raise Undecodable("a member is of the wrong type or out of range, or the version is another")
        dependencies = _dots(deps)
        if dependencies and incarnation in dict(dependencies):
            raise Undecodable("a change that waits for its own incarnation would wait for ever")
        idempotency = None
        if key is not None:
            if type(key) is not str or type(fingerprint) is not bytes:
                raise Undecodable("idempotency is not a text and bytes")
            idempotency = (key, fingerprint)
        operations = tuple([_operation(op) for op in ops])
        return Change(
            incarnation,
            seq,
            hlc,
            dependencies,
            previous,
            author,
            message,
            idempotency,
            operations,
            tuple(before),
            raw,
        )
    except Undecodable:
        raise
    except Exception as error:  # noqa: BLE001 - msgpack raises a dozen types on junk, RecursionError among them
        raise Undecodable(f"{type(error).__name__}: {error}") from None


class Envelope(NamedTuple):
    """What is known of a change without looking at its operations."""

    dot: Dot
    hlc: int
    idempotency: tuple[str, bytes] | None


def peek_dot(raw: bytes) -> Dot | None:
    """The dot of a change that may be undecodable otherwise; None if not even that can be read.

    The first three items (version, incarnation, seq) keep their place in every version of the encoding.
    """
    try:
        _, incarnation, seq = msgpack.unpackb(raw, timestamp=0)[:3]
    except Exception:  # noqa: BLE001 - total: whatever is wrong with it, it cannot be read
        return None
    if type(incarnation) is int and type(seq) is int and incarnation > 0 and seq > 0:
        return (incarnation, seq)
    return None


def peek_deps(raw: bytes) -> tuple[Dot, ...]:
    """The `deps` of a change, several times faster than `decode`; empty if they cannot be read."""
    try:
        flat = msgpack.unpackb(raw, timestamp=0)[4]
        return tuple(zip(flat[::2], flat[1::2], strict=True))
    except Exception:  # noqa: BLE001 - total: whatever is wrong with it, it cannot be read
        return ()


def peek(raw: bytes) -> Envelope | None:
    """The envelope of a change, several times faster than `decode`; None if it cannot be read."""
    try:
        _, incarnation, seq, hlc, _, _, _, _, key, fingerprint = msgpack.unpackb(raw, timestamp=0)[:10]
    except Exception:  # noqa: BLE001 - total: whatever is wrong with it, it cannot be read
        return None
    if not (type(incarnation) is int and type(seq) is int and type(hlc) is int):
        return None
    named = type(key) is str and type(fingerprint) is bytes
    return Envelope((incarnation, seq), hlc, (key, fingerprint) if named else None)


def _operation(op: object) -> Operation:
    if type(op) is not list or len(op) < _OPERATION_FIELDS:
        raise Undecodable("an operation is not an array of at least six")
    name, generation_incarnation, generation_seq, field, payload, seen = op[:_OPERATION_FIELDS]
    if not (
        type(name) is str
        and type(field) is str
        and type(payload) is bytes
        and type(generation_incarnation) is int
        and type(generation_seq) is int
        and 0 <= generation_incarnation <= _INCARNATION_MAX
        and 0 <= generation_seq <= _SEQ_MAX
        and len(name) <= TEXT_CHARACTERS_MAX
        and len(field) <= TEXT_CHARACTERS_MAX
    ):
        raise Undecodable("an operation has a member of the wrong type")
    generation = (generation_incarnation, generation_seq)
    return _new_operation(Operation, (name, generation, field, payload, _dots(seen) if seen else ()))


def _dots(flat: object) -> tuple[Dot, ...]:
    if type(flat) is not list or len(flat) % 2:
        raise Undecodable("dots are not an array of pairs")
    dots = tuple(zip(flat[::2], flat[1::2], strict=True))
    for incarnation, seq in dots:
        if not (
            type(incarnation) is int
            and type(seq) is int
            and 0 < incarnation <= _INCARNATION_MAX
            and 0 < seq <= _SEQ_MAX
        ):
            raise Undecodable("a dot is out of range")
    return dots
