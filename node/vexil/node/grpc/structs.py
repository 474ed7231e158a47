"""protobuf's JSON (``google.protobuf.Struct``) and ours.

All its numbers are doubles. A whole one becomes an integer, as JSON would have written it, so that a rule that makes
text of it sees ``5`` and not ``5.0``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct, Value

WHOLE_MAX: Final = 2**53 - 1
"""Whole numbers up to here are the same as a double and as an integer."""


def to_plain(struct: Struct) -> dict[str, Any]:
    """The decoded JSON of ``struct``; as deep as protobuf lets a message be, which it bounds while reading it."""
    return {name: _value(value) for name, value in struct.fields.items()}


def _value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= WHOLE_MAX else number
    if kind == "struct_value":
        return to_plain(value.struct_value)
    if kind == "list_value":
        return [_value(member) for member in value.list_value.values]
    return None if kind is None or kind == "null_value" else getattr(value, kind)


def to_struct(members: Mapping[str, Any]) -> Struct:
    """``members`` as protobuf has them. Raises ValueError, OverflowError for what it cannot hold."""
    struct = Struct()
    struct.update(members)
    return struct
