"""What the client may know of a token: whether one state can be older than another.

A token is opaque to whoever only sends it along, and the node says by ``Vexil-Behind`` whether it is behind one. This
module looks into it for the one case that a node cannot tell: a later event, or the answer of another node, must not
lead back. A token is base64url of msgpack ``[1, project, vector, …]``, a vector is msgpack ``[incarnation, seq, …]``.

It is only a lower bound. An incarnation that is missing proves nothing (it was retired, or left out for length); a
lower ``seq`` of the same incarnation proves that the state is older. What cannot be read is not compared.
"""

from __future__ import annotations

import base64
import binascii
from enum import Enum
from typing import Any, Final, TypeGuard

from vexil.sdk.client.options import TOKEN_CHARACTERS_MAX

_VERSION: Final = 1


class Order(Enum):
    """How a state stands to the one that we have."""

    COVERS = "covers"  # everything that ours has is in it
    OLDER = "older"  # it lacks something that ours has
    UNKNOWN = "unknown"  # the tokens do not tell; the node does


def order(ours: str | None, theirs: str | None) -> Order:
    """How the state of token ``theirs`` stands to that of ``ours``; everything covers None."""
    if ours is None or ours == theirs:
        return Order.COVERS
    our_state, their_state = _read(ours), _read(theirs)
    if our_state is None or their_state is None or our_state[0] != their_state[0]:
        return Order.UNKNOWN
    missing = False
    for incarnation, seq in our_state[1].items():
        known = their_state[1].get(incarnation)
        if known is None:
            missing = True
        elif known < seq:
            return Order.OLDER
    return Order.UNKNOWN if missing else Order.COVERS


def is_sendable(token: object) -> TypeGuard[str]:
    """Whether ``token``, or whatever else a node has made up, can stand in a header at all."""
    return (
        isinstance(token, str)
        and 0 < len(token) <= TOKEN_CHARACTERS_MAX
        and token.isascii()
        and token.isprintable()
    )


def _read(token: str | None) -> tuple[str, dict[int, int]] | None:
    """The project and the vector of a token; None if it is not of the one version that is known here."""
    if not token or len(token) > TOKEN_CHARACTERS_MAX:
        return None
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, project, vector, *_ = _unpack(packed)
        flat = _unpack(vector)
        pairs = dict(zip(flat[::2], flat[1::2], strict=True))
    except (ValueError, TypeError, IndexError, binascii.Error):
        return None
    if version != _VERSION or not isinstance(project, str):
        return None
    if not all(type(i) is int and type(seq) is int for i, seq in pairs.items()):
        return None
    return project, pairs


def _unpack(packed: bytes) -> list[Any]:
    """A msgpack array of whole numbers, texts and bytes. Raises ValueError or IndexError for anything else."""
    kind = packed[0]
    if kind & 0xF0 == 0x90:
        count, at = kind & 0x0F, 1
    elif kind == 0xDC:
        count, at = _number(packed, 1, 2), 3
    else:
        raise ValueError("not an array")
    found: list[Any] = []
    for _ in range(count):
        item, at = _item(packed, at)
        found.append(item)
    if at != len(packed):
        raise ValueError("bytes after the end")
    return found


def _item(packed: bytes, at: int) -> tuple[int | str | bytes, int]:
    kind = packed[at]
    if kind < 0x80:
        return kind, at + 1
    if 0xCC <= kind <= 0xCF:
        width = 1 << (kind - 0xCC)
        return _number(packed, at + 1, width), at + 1 + width
    if kind & 0xE0 == 0xA0:
        return _bytes(packed, at + 1, kind & 0x1F).decode(), at + 1 + (kind & 0x1F)
    if kind in {0xC4, 0xD9}:
        width = 1
    elif kind in {0xC5, 0xDA}:
        width = 2
    else:
        raise ValueError("not a number, a text or bytes")
    length = _number(packed, at + 1, width)
    raw = _bytes(packed, at + 1 + width, length)
    return raw.decode() if kind >= 0xD9 else raw, at + 1 + width + length


def _number(packed: bytes, at: int, width: int) -> int:
    return int.from_bytes(_bytes(packed, at, width), "big")


def _bytes(packed: bytes, at: int, length: int) -> bytes:
    found = packed[at : at + length]
    if len(found) != length:
        raise ValueError("cut short")
    return found
