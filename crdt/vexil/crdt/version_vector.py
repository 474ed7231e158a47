"""Version vectors: ``incarnation -> seq``, "I have applied every change up to here".

They are only ever true, and they only decide what to send; never what to delete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgpack

VersionVector = dict[int, int]
HASH_BYTES = 16


def covers(vv: Mapping[int, int], other: Mapping[int, int] | Iterable[tuple[int, int]]) -> bool:
    """Whether everything in ``other`` is in ``vv``."""
    pairs = other.items() if isinstance(other, Mapping) else other
    return all(vv.get(incarnation, 0) >= seq for incarnation, seq in pairs)


def join(left: Mapping[int, int], right: Mapping[int, int]) -> VersionVector:
    """The least vector that covers both."""
    joined = dict(left)
    for incarnation, seq in right.items():
        if seq > joined.get(incarnation, 0):
            joined[incarnation] = seq
    return joined


def missing(have: Mapping[int, int], want: Mapping[int, int]) -> int:
    """How many changes of ``want`` are not in ``have``."""
    return sum(max(0, seq - have.get(incarnation, 0)) for incarnation, seq in want.items())


def encode(vv: Mapping[int, int]) -> bytes:
    """Canonical bytes: equal vectors are equal bytes."""
    return bytes(msgpack.packb([item for pair in sorted(vv.items()) if pair[1] for item in pair]))


def decode(raw: bytes) -> VersionVector:
    """The inverse of ``encode``. Raises ValueError on anything else."""
    try:
        flat = msgpack.unpackb(raw)
        vv = dict(zip(flat[::2], flat[1::2], strict=True))
        if not all(type(k) is int and type(v) is int and k > 0 and v > 0 for k, v in vv.items()):
            raise ValueError("not positive integers")
    except Exception as error:  # noqa: BLE001 - msgpack raises a dozen types on junk
        raise ValueError(f"not a version vector: {error}") from None
    return vv


def digest(vv: Mapping[int, int]) -> str:
    """Hex hash of the canonical bytes."""
    return blake2b(encode(vv), digest_size=HASH_BYTES).hexdigest()
