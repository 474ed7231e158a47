"""The hash tree over one state: where two nodes whose root hashes differ have to look.

It has one level. Every object falls into one of `BUCKETS` by the hash of its name, and a bucket's sum is the sum of
its objects' parts of the root hash. So equal live states have equal sums however each has collected its garbage, the
sums add up to the root hash of the very cells that were summed, and one lane that differs shows in one bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from vexil.crdt import cell as cells
from vexil.crdt.change import Dot
from vexil.crdt.replica import HASH_BITS, HASH_BYTES, object_sum

BUCKET_BITS: Final = 10
BUCKETS: Final = 1 << BUCKET_BITS
SUMS_BYTES: Final = BUCKETS * HASH_BYTES
"""Of an encoded tree, always."""
CHOICE_BYTES: Final = BUCKETS // 8
"""Of an encoded choice of buckets, always."""
_MASK: Final = (1 << HASH_BITS) - 1


class HashTree:
    """The sums over the objects that were added, each once."""

    __slots__ = ("names", "sums")

    def __init__(self) -> None:
        """Over nothing yet."""
        self.sums = [0] * BUCKETS
        self.names: list[list[str]] = [[] for _ in range(BUCKETS)]
        """The objects of each bucket, in the order in which they were added."""

    def add(self, name: str, generations: Mapping[Dot, Mapping[str, bytes]]) -> None:
        """Take an object in."""
        bucket = bucket_of(name)
        self.sums[bucket] = (self.sums[bucket] + readable_sum(name, generations)) & _MASK
        self.names[bucket].append(name)

    @property
    def root(self) -> int:
        """The root hash of what was added."""
        return sum(self.sums) & _MASK

    def differing(self, sums: Sequence[int]) -> list[int]:
        """The buckets in which ``sums`` are others, ascending."""
        return [bucket for bucket in range(BUCKETS) if self.sums[bucket] != sums[bucket]]

    def chosen(self, buckets: Iterable[int]) -> list[str]:
        """The objects of these buckets, ascending."""
        return sorted(name for bucket in buckets for name in self.names[bucket])


def readable_sum(name: str, generations: Mapping[Dot, Mapping[str, bytes]]) -> int:
    """`object_sum`, whatever has become of the cells in memory: one that is none any more counts as absent."""
    try:
        return object_sum(name, generations)
    except Exception:  # noqa: BLE001 - bytes that were altered can fail anywhere in the reading
        sound = {
            generation: {field: packed for field, packed in fields.items() if cells.check(packed)}
            for generation, fields in generations.items()
        }
        return object_sum(name, sound)


def bucket_of(name: str) -> int:
    """The object's bucket: the first bits of a hash of its name."""
    # A name that was read from junk may hold half a character.
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()
    return int.from_bytes(digest, "big") >> (HASH_BITS - BUCKET_BITS)


def encode_sums(sums: Sequence[int]) -> bytes:
    """`SUMS_BYTES` bytes."""
    return b"".join(part.to_bytes(HASH_BYTES, "big") for part in sums)


def decode_sums(raw: bytes) -> list[int]:
    """The inverse of `encode_sums`. Raises ValueError for bytes of another length."""
    if len(raw) != SUMS_BYTES:
        raise ValueError(f"{len(raw)} bytes are not the sums of {BUCKETS} buckets")
    return [int.from_bytes(raw[at : at + HASH_BYTES], "big") for at in range(0, SUMS_BYTES, HASH_BYTES)]


def encode_choice(buckets: Iterable[int]) -> bytes:
    """`CHOICE_BYTES` bytes: one bit a bucket."""
    return sum(1 << bucket for bucket in set(buckets)).to_bytes(CHOICE_BYTES, "big")


def decode_choice(raw: bytes) -> list[int]:
    """The inverse of `encode_choice`, ascending. Raises ValueError for bytes of another length."""
    if len(raw) != CHOICE_BYTES:
        raise ValueError(f"{len(raw)} bytes are not a choice of {BUCKETS} buckets")
    bits = int.from_bytes(raw, "big")
    return [bucket for bucket in range(BUCKETS) if bits >> bucket & 1]
