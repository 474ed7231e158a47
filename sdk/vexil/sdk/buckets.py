"""Who falls into which bucket: flagd's ``fractional``, generations v3 and v2.

A bucket is MurmurHash3 (x86, 32 bits, seed 0) of some bytes. v3 takes the canonical CBOR (RFC 8949, 4.2.1) of the
value, whole floats being integers; v2 the UTF-8 of a text. Shorthand takes the flag's key and the targeting key: as an
array of two in v3, one after the other in v2. Who moves to another generation moves nearly everyone to another bucket.

Weights are turned into bounds on the hash: the reference takes ``(hash * total) >> 32`` and the first entry whose
summed weight is over it, which is the first whose bound, ``ceil(sum * 2**32 / total)``, is over the hash.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import mmh3

from vexil.sdk.budget import Budget
from vexil.sdk.limits import NESTING_MAX

murmur: Final = mmh3.mmh3_32_uintdigest
WEIGHTS_TOTAL_MAX: Final = 2**31 - 1
HASHES: Final = 2**32


class Generation(NamedTuple):
    """How one generation makes its hash."""

    prefix: Callable[[str], bytes]
    """What the flag's key adds before the targeting key in shorthand."""
    by_targeting_key: Callable[[bytes, object], int | None]
    """The hash of a prefix and a targeting key; None if that is no text, is empty, or has no UTF-8."""
    by_value: Callable[[object], int | None]
    """The hash of a bucket's value; None if the generation cannot take it."""


def bounds_of(weights: Sequence[object]) -> tuple[int, ...] | None:
    """For each entry the hash that it ends before; None if these are no weights."""
    sums: list[int] = []
    total = 0
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int):
            return None
        total += max(0, weight)
        sums.append(total)
    if not 0 < total <= WEIGHTS_TOTAL_MAX:
        return None
    return tuple(-(-so_far * HASHES // total) for so_far in sums)


def pick(bounds: tuple[int, ...], variants: Sequence[Any], drawn: int | None) -> Any:
    """The variant of the entry that the hash ``drawn`` falls to; None without one."""
    return None if drawn is None else variants[bisect_right(bounds, drawn)]


def pick_computed(entries: Sequence[Sequence[Any]], drawn: int | None) -> Any:
    """As `pick`, of entries ``[variant, weight?]`` that were worked out; None if they are no distribution."""
    if not all(1 <= len(entry) <= 2 for entry in entries):
        return None
    bounds = bounds_of([entry[1] if len(entry) == 2 else 1 for entry in entries])
    return None if bounds is None else pick(bounds, [entry[0] for entry in entries], drawn)


def draw(budget: Budget, generation: Generation, value: object) -> int | None:
    """The hash of a bucket's value; spends what it takes to read it."""
    budget.weigh(value)
    return None if value is None or isinstance(value, list | tuple) else generation.by_value(value)


# -- v3

HEADS: Final = tuple(bytes([0x60 + size]) if size < 24 else bytes([0x78, size]) for size in range(256))
"""How CBOR begins a text of so many bytes."""


def _prefix_v3(flag_key: str) -> bytes:
    return b"\x82" + _cbor(flag_key, 0)


def _by_targeting_key_v3(prefix: bytes, targeting_key: object) -> int | None:
    if not isinstance(targeting_key, str) or not targeting_key:
        return None
    try:
        text = targeting_key.encode()
    except UnicodeEncodeError:
        return None
    size = len(text)
    return murmur(prefix + (HEADS[size] if size < 256 else _head(3, size)) + text)


def _by_value_v3(value: object) -> int | None:
    try:
        return murmur(_cbor(value, 0))
    except (UnicodeEncodeError, _NotCbor):
        return None


class _NotCbor(Exception):
    """What is no JSON, or nested without end."""


def _cbor(value: object, level: int) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _cbor_of_int(value)
    if isinstance(value, float):
        return _cbor_of_float(value)
    if level == NESTING_MAX:
        raise _NotCbor
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join([_cbor(item, level + 1) for item in value])
    if isinstance(value, dict):
        members = sorted((_cbor(name, level + 1), _cbor(item, level + 1)) for name, item in value.items())
        return _head(5, len(value)) + b"".join([part for member in members for part in member])
    raise _NotCbor


def _cbor_of_int(value: int) -> bytes:
    major, count = (0, value) if value >= 0 else (1, -1 - value)
    if count < 2**64:
        return _head(major, count)
    digits = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes([0xC2 + major]) + _head(2, len(digits)) + digits


def _cbor_of_float(value: float) -> bytes:
    if value != value:  # noqa: PLR0124 - NaN is not equal to itself
        return b"\xf9\x7e\x00"
    if value.is_integer() and -(2**63) <= value <= 2**64 - 1:
        return _cbor_of_int(int(value))
    for head, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
        try:
            packed = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == value:
            return head + packed
    return b"\xfb" + struct.pack(">d", value)


def _head(major: int, count: int) -> bytes:
    if count < 24:
        return bytes([major << 5 | count])
    for bits, (ceiling, size) in enumerate(((2**8, 1), (2**16, 2), (2**32, 4), (2**64, 8))):
        if count < ceiling:
            return bytes([major << 5 | 24 + bits]) + count.to_bytes(size, "big")
    raise _NotCbor


# -- v2


def _prefix_v2(flag_key: str) -> bytes:
    return flag_key.encode()


def _by_targeting_key_v2(prefix: bytes, targeting_key: object) -> int | None:
    if not isinstance(targeting_key, str) or not targeting_key:
        return None
    try:
        return murmur(prefix + targeting_key.encode())
    except UnicodeEncodeError:
        return None


def _by_value_v2(value: object) -> int | None:
    return _by_targeting_key_v2(b"", value)


V3: Final = "v3"
V2: Final = "v2"
GENERATIONS: Final[dict[str, Generation]] = {
    V3: Generation(_prefix_v3, _by_targeting_key_v3, _by_value_v3),
    V2: Generation(_prefix_v2, _by_targeting_key_v2, _by_value_v2),
}
