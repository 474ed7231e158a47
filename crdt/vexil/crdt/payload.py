"""What a lane carries: ``[author, value]``, opaque to replication.

The kernel joins, hashes and forwards payloads as bytes and never re-encodes one, so members that a newer version
adds survive every older node. A tombstone is told from a value by its first byte alone: it is a msgpack extension,
a value is a msgpack array.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgpack

TOMBSTONE_EXTENSION = 1
_EXTENSION_FIRST_BYTES: Final = frozenset(bytes((first,)) for first in b"\xc7\xc8\xc9\xd4\xd5\xd6\xd7\xd8")
# One packer for the process: the kernel is single-threaded, and building one costs more than packing a payload.
_pack: Final = msgpack.Packer(autoreset=True).pack
_new_payload: Final = tuple.__new__


class _Marker:
    """A named singleton that equals only itself."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        return self._name


TOMBSTONE: Final = _Marker("TOMBSTONE")
"""The value of a lane that says: removed."""
UNREADABLE: Final = _Marker("UNREADABLE")
"""The value of a payload that this version cannot read. It is kept, hashed and passed on all the same."""


class Payload(NamedTuple):
    """Who wrote, and what."""

    author: str
    value: object


def encode(author: str, value: object) -> bytes:
    """The payload bytes of ``value`` (JSON data: maps with text keys in the writer's order) or ``TOMBSTONE``.

    Integers beyond 64 bits become floats, as JSON readers take them. Raises ValueError or TypeError on what msgpack
    cannot say.
    """
    if value is TOMBSTONE:
        return tombstone(author)
    try:
        return bytes(_pack((author, value)))
    except OverflowError:
        try:
            return bytes(_pack((author, _within_64_bits(value))))
        except OverflowError:
            raise ValueError("an integer is beyond what a float can hold") from None


def tombstone(author: str) -> bytes:
    """The payload that removes."""
    return bytes(msgpack.packb(msgpack.ExtType(TOMBSTONE_EXTENSION, msgpack.packb([author]))))


def is_tombstone(payload: bytes) -> bool:
    """Whether ``payload`` is a tombstone; looks at its first byte only."""
    return payload[:1] in _EXTENSION_FIRST_BYTES


def decode(payload: bytes) -> Payload:
    """Total: what cannot be read gives ``Payload("", UNREADABLE)``; members after the value are ignored here."""
    author: object
    value: object
    try:
        decoded = msgpack.unpackb(payload, strict_map_key=True, timestamp=0)
        if is_tombstone(payload):
            inside = msgpack.unpackb(decoded.data)
            author, value = inside[0] if type(inside) is list else None, TOMBSTONE
        else:
            author, value = decoded[:2] if type(decoded) is list else (None, None)
    except Exception:  # noqa: BLE001 - total by contract: msgpack raises a dozen types on junk
        return Payload("", UNREADABLE)
    if not isinstance(author, str) or isinstance(value, (msgpack.ExtType, msgpack.Timestamp, bytes)):
        return Payload("", UNREADABLE)
    # Nobody reads a cell without it: without the constructor's detour.
    return _new_payload(Payload, (author, value))


def _within_64_bits(value: object) -> object:
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return float(value)
    if isinstance(value, list | tuple):
        return [_within_64_bits(item) for item in value]
    if isinstance(value, dict):
        return {key: _within_64_bits(item) for key, item in value.items()}
    return value
