"""A whole state under other incarnations: a copy that can live beside the state that it was made from.

Two projects of one cluster must not both have changes of an incarnation that still writes: each would take the other's
for a second history. The new names ascend as the old ones do, so every tie is decided as it was, and cells stay in
their order. What refers to changes by text is not followed: parked changes are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

import msgpack

from vexil.crdt import cell as cells
from vexil.crdt import schema
from vexil.crdt.change import Dot
from vexil.crdt.replica import HASH_BYTES, Replica

_NAME_BYTES: Final = 8

Names = Mapping[int, int]
"""Old incarnation -> new one; ascending as the old ones do."""


def names_for(incarnations: Iterable[int], *, salt: bytes) -> dict[int, int]:
    """New names, the same for the same incarnations and ``salt``, and of no other set of incarnations."""
    old = sorted(set(incarnations))
    base = blake2b(msgpack.packb([salt, old]), digest_size=HASH_BYTES).digest()
    new = {
        int.from_bytes(
            blake2b(base, salt=i.to_bytes(HASH_BYTES, "big"), digest_size=_NAME_BYTES).digest(), "big"
        )
        for i in range(len(old))
    }
    assert len(new) == len(old), "hashes of 64 bits collide"
    assert 0 not in new, "no incarnation is 0"
    return dict(zip(old, sorted(new), strict=True))


def incarnations_of(replica: Replica) -> set[int]:
    """Every incarnation that a whole state tells of: there is a lane, a generation or a dot of no other."""
    return {*replica.vv, *replica.retired}


def renamed_header(replica: Replica, names: Names, *, root: int) -> bytes:
    """The header of ``replica`` under ``names``. ``root`` is the renamed cells'; chain heads stay as they are."""
    version, heads, deps, _, floor, *_ = msgpack.unpackb(replica.header())
    items = [
        version,
        sorted([names[i], seq, head] for i, seq, head in heads),
        sorted([names[i], _renamed_flat(flat, names)] for i, flat in deps if i in names),
        root.to_bytes(HASH_BYTES, "big"),
        _renamed_flat(floor, names),
    ]
    return bytes(msgpack.packb(items))


def renamed_object(
    name: str, generations: Mapping[Dot, Mapping[str, bytes]], names: Names
) -> dict[Dot, dict[str, bytes]]:
    """The cells of one object under ``names``; none of a parked change."""
    if name.startswith(f"{schema.PARKED}/"):
        return {}
    is_retired = name == schema.RETIRED_OBJECT
    return {
        _renamed_dot(generation, names): {
            _renamed_field(field, names) if is_retired else field: _renamed_cell(packed, names)
            for field, packed in fields.items()
        }
        for generation, fields in generations.items()
    }


def _renamed_dot(dot: Dot, names: Names) -> Dot:
    return (names.get(dot[0], dot[0]), dot[1])


def _renamed_field(field: str, names: Names) -> str:
    try:
        incarnation = int(field, 16)
    except ValueError:
        return field
    return schema.retired_field(names[incarnation]) if incarnation in names else field


def _renamed_cell(packed: bytes, names: Names) -> bytes:
    flat = cells.unpacked(packed)
    groups = []
    for i in range(0, len(flat), cells.WIDTH):
        incarnation, *lane, seen_seq, by, by_seq = flat[i : i + cells.WIDTH]
        groups.append([names.get(incarnation, incarnation), *lane, seen_seq, names.get(by, by), by_seq])
    groups.sort()
    return cells.pack([item for group in groups for item in group])


def _renamed_flat(flat: list[int], names: Names) -> list[int]:
    pairs = sorted((names[i], seq) for i, seq in zip(flat[::2], flat[1::2], strict=True) if i in names)
    return [item for pair in pairs for item in pair]
