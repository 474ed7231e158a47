"""The peer protocol's messages: msgpack maps, read strictly, unknown members ignored.

========  ==================================================  =====================================================
method    request                                             answer
========  ==================================================  =====================================================
join      who wants to be a member, and what it has          per project the vector to reach
digest    one hash a project, ages of knowledge               of projects that differ: vector, chain heads, root
pull      project, vector, what to leave out, page size       a page of encoded changes, ``more``, ``reached``
push      per project encoded changes, ``more``               per project the vector that is here now, gaps
announce  known versions, announcements that the peer lacks   known versions, announcements that the caller lacks
snapshot  see `vexil.node.gossip.snapshots`                   a new cut, or a page of one
past      project, cursor, what is there, page size           a page of history, newest first, and its cursor
tree      see `vexil.node.gossip.repair`                      the sums of a hash tree
cells     as above                                            a page of objects, and its cursor
========  ==================================================  =====================================================

Every request says under which registration its sender is a member (``as``). Vectors and heads are flat arrays. A reader
takes nothing on trust: every member is checked for type and range, and what does not fit raises `Malformed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from vexil.crdt.change import CHAIN_BYTES

PROTOCOL_VERSION = 1
FRAME_BYTES_MAX = 4 << 20
PAGE_BYTES = 1 << 20
"""Raw change bytes in one page or push (a single larger change still travels alone)."""
EXTENSION_BYTES_MAX = 64
PAGE_BYTES_MIN = 16 << 10
"""So small a page is asked for over a link on which larger ones time out."""
PROJECTS_MAX = 10_000
INCARNATIONS_MAX = 200_000
CHANGES_MAX = 16_384
NAME_BYTES_MAX = 200
URL_BYTES_MAX = 2_000
HASH_BYTES_MAX = 32
_INTEGER_MAX = (1 << 64) - 1

Heads = dict[int, tuple[int, bytes]]
"""Per incarnation the seq and the chain hash of the newest applied change."""


class Malformed(Exception):
    """A message is not of the protocol; the text says where."""


def encode(members: Mapping[str, object]) -> bytes:
    """The message as bytes, with the protocol's version."""
    return bytes(msgpack.packb({"v": PROTOCOL_VERSION, **members}))


def flat_vv(vv: Mapping[int, int]) -> list[int]:
    """``[incarnation, seq, …]``."""
    return [item for pair in vv.items() for item in pair]


def flat_heads(vv: Mapping[int, int], chain: Mapping[int, bytes]) -> list[object]:
    """``[incarnation, seq, chain, …]``."""
    return [item for i, seq in vv.items() for item in (i, seq, chain[i])]


class Message:
    """A decoded message: typed access to its members, `Malformed` for anything that does not fit."""

    __slots__ = ("_members",)

    def __init__(self, members: dict[Any, Any]) -> None:
        """Wrap members that are a map already."""
        self._members = members

    @classmethod
    def decode(cls, raw: bytes) -> Message:
        """Read ``raw``. Raises Malformed if it is no map, too large, or of another protocol version."""
        if len(raw) > FRAME_BYTES_MAX:
            raise Malformed(f"{len(raw)} bytes, more than {FRAME_BYTES_MAX}")
        try:
            members = msgpack.unpackb(
                raw,
                timestamp=0,
                max_array_len=3 * INCARNATIONS_MAX,
                max_map_len=PROJECTS_MAX,
                max_str_len=URL_BYTES_MAX,
                max_bin_len=FRAME_BYTES_MAX,
                max_ext_len=EXTENSION_BYTES_MAX,
            )
        except Exception as error:  # noqa: BLE001 - msgpack raises a dozen types on junk; all mean the same here
            raise Malformed(f"not msgpack: {type(error).__name__}") from None
        if not isinstance(members, dict):
            raise Malformed("not a map")
        version = members.get("v")
        if type(version) is not int or version < PROTOCOL_VERSION:
            raise Malformed(f"protocol version {version!r}, not {PROTOCOL_VERSION} or later")
        return cls(members)

    def text(self, name: str, *, limit_bytes: int = NAME_BYTES_MAX) -> str:
        """A text member of at most ``limit_bytes``."""
        value = self._members.get(name)
        if not isinstance(value, str) or len(value.encode()) > limit_bytes:
            raise Malformed(f"{name}: not a text of at most {limit_bytes} bytes")
        return value

    def text_or(self, name: str, default: str) -> str:
        """A text member, or ``default`` if there is none."""
        return self.text(name) if name in self._members else default

    def integer(self, name: str) -> int:
        """A non-negative 64-bit integer."""
        value = self._members.get(name)
        if type(value) is not int or not 0 <= value <= _INTEGER_MAX:
            raise Malformed(f"{name}: not an unsigned integer")
        return value

    def integer_or(self, name: str, default: int) -> int:
        """A non-negative 64-bit integer, or ``default`` if there is none."""
        return self.integer(name) if name in self._members else default

    def flag(self, name: str) -> bool:
        """A boolean; absent is false."""
        value = self._members.get(name, False)
        if type(value) is not bool:
            raise Malformed(f"{name}: not a boolean")
        return value

    def blob(self, name: str, *, limit_bytes: int = 64) -> bytes:
        """Bytes of at most ``limit_bytes``."""
        value = self._members.get(name)
        if type(value) is not bytes or len(value) > limit_bytes:
            raise Malformed(f"{name}: not bytes of at most {limit_bytes}")
        return value

    def blob_or(self, name: str, default: bytes, *, limit_bytes: int = 64) -> bytes:
        """Bytes of at most ``limit_bytes``, or ``default`` if there are none."""
        return self.blob(name, limit_bytes=limit_bytes) if name in self._members else default

    def vv(self, name: str) -> dict[int, int]:
        """A version vector."""
        return _vv(self._members.get(name), name)

    def vv_or(self, name: str, default: Mapping[int, int]) -> Mapping[int, int]:
        """A version vector, or ``default`` if there is none."""
        return self.vv(name) if name in self._members else default

    def ages(self, name: str) -> dict[str, int]:
        """Per slot an age in milliseconds."""
        value = self._map(name)
        if not all(type(v) is int and 0 <= v <= _INTEGER_MAX for v in value.values()):
            raise Malformed(f"{name}: ages are not unsigned integers")
        return value

    def changes(self, name: str) -> list[bytes]:
        """A list of encoded changes."""
        return _changes(self._members.get(name), name)

    def changes_by_project(self, name: str) -> dict[str, list[bytes]]:
        """Per project a list of encoded changes."""
        return {p: _changes(v, f"{name}.{p}") for p, v in self._map(name).items()}

    def vv_by_project(self, name: str) -> dict[str, dict[int, int]]:
        """Per project a version vector."""
        return {p: _vv(v, f"{name}.{p}") for p, v in self._map(name).items()}

    def vv_by_project_or_none(self, name: str) -> dict[str, dict[int, int]]:
        """Per project a version vector; absent is empty."""
        return self.vv_by_project(name) if name in self._members else {}

    def heads_by_project(self, name: str) -> dict[str, tuple[Heads, str]]:
        """Per project heads and root hash."""
        answer = {}
        for project, value in self._map(name).items():
            if not isinstance(value, list) or len(value) < 2 or not isinstance(value[1], str):
                raise Malformed(f"{name}.{project}: not heads and a root hash")
            answer[project] = (_heads(value[0], f"{name}.{project}"), value[1])
        return answer

    def hashes(self, name: str) -> dict[str, bytes]:
        """Per project a hash."""
        value = self._map(name)
        if not all(type(v) is bytes and len(v) <= HASH_BYTES_MAX for v in value.values()):
            raise Malformed(f"{name}: not hashes")
        return value

    def incarnations_by_project(self, name: str) -> dict[str, list[int]]:
        """Per project a list of incarnations; absent is empty."""
        if name not in self._members:
            return {}
        return {p: Message({"x": v}).incarnations("x") for p, v in self._map(name).items()}

    def incarnations(self, name: str) -> list[int]:
        """A list of incarnations; absent is empty."""
        value = self._members.get(name, [])
        if not isinstance(value, list) or len(value) > INCARNATIONS_MAX:
            raise Malformed(f"{name}: not a list of incarnations")
        if not all(type(i) is int and 0 < i <= _INTEGER_MAX for i in value):
            raise Malformed(f"{name}: not a list of incarnations")
        return value

    def names(self, name: str) -> list[str]:
        """A list of at most `PROJECTS_MAX` texts of at most `NAME_BYTES_MAX`."""
        value = self._members.get(name)
        if (
            not isinstance(value, list)
            or len(value) > PROJECTS_MAX
            or not all(isinstance(v, str) and len(v.encode()) <= NAME_BYTES_MAX for v in value)
        ):
            raise Malformed(f"{name}: not a list of short texts")
        return value

    def rows(self, name: str, *, rows_max: int) -> list[list[object]]:
        """A list of at most ``rows_max`` lists; absent is empty."""
        value = self._members.get(name, [])
        if (
            not isinstance(value, list)
            or len(value) > rows_max
            or not all(isinstance(row, list) for row in value)
        ):
            raise Malformed(f"{name}: not a list of at most {rows_max} lists")
        return value

    def _map(self, name: str) -> dict[str, Any]:
        value = self._members.get(name)
        if not isinstance(value, dict) or len(value) > PROJECTS_MAX:
            raise Malformed(f"{name}: not a map of at most {PROJECTS_MAX}")
        if not all(isinstance(k, str) and len(k.encode()) <= NAME_BYTES_MAX for k in value):
            raise Malformed(f"{name}: a name is not a short text")
        return value


def _vv(flat: object, where: str) -> dict[int, int]:
    if not isinstance(flat, list) or len(flat) % 2 or len(flat) > 2 * INCARNATIONS_MAX:
        raise Malformed(f"{where}: not a flat array of pairs")
    if not all(type(x) is int and 0 < x <= _INTEGER_MAX for x in flat):
        raise Malformed(f"{where}: not positive integers")
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _heads(flat: object, where: str) -> Heads:
    if not isinstance(flat, list) or len(flat) % 3 or len(flat) > 3 * INCARNATIONS_MAX:
        raise Malformed(f"{where}: not a flat array of triples")
    heads: Heads = {}
    for i in range(0, len(flat), 3):
        incarnation, seq, chain = flat[i : i + 3]
        if not (
            type(incarnation) is int
            and type(seq) is int
            and 0 < incarnation <= _INTEGER_MAX
            and 0 < seq <= _INTEGER_MAX
            and type(chain) is bytes
            and len(chain) == CHAIN_BYTES
        ):
            raise Malformed(f"{where}: not an incarnation, a seq and a chain hash")
        heads[incarnation] = (seq, chain)
    return heads


def _changes(value: object, where: str) -> list[bytes]:
    if (
        not isinstance(value, list)
        or len(value) > CHANGES_MAX
        or not all(type(raw) is bytes for raw in value)
    ):
        raise Malformed(f"{where}: not a list of at most {CHANGES_MAX} encoded changes")
    return value


def total_bytes(changes: Sequence[bytes]) -> int:
    """Payload bytes of a page: what the physical limit of replication is measured against."""
    return sum(map(len, changes))
