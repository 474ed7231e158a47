"""JSON in and out: strict about what comes in, total about what goes out.

A body with a member twice, NaN, an infinity or half a surrogate pair means different things to different readers, so
it is refused here and never gets to be a flag. What goes out may hold anything that a merge has brought: what is not
JSON is shown as text.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from vexil.node.errors import Malformed

OUTPUT_DEPTH_MAX = 200
"""In an answer that plain JSON cannot say, what is nested deeper is shown as ``null``; nothing that was accepted is."""


def decode(body: bytes) -> Any:
    """The value of a JSON text in UTF-8. Raises Malformed, and nothing else, for what is not one."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_members, parse_float=_finite, parse_constant=_refuse_constant
        )
        if "\\u" in text:
            # Half a surrogate pair can be written in JSON and cannot be stored as text.
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Malformed("the body holds half a surrogate pair") from None
    except RecursionError:
        raise Malformed("the body is nested too deep") from None
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    return value


def encode(value: object) -> bytes:
    """``value`` as compact JSON in UTF-8; never raises."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_plain(value, OUTPUT_DEPTH_MAX), separators=(",", ":")).encode()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the member {name!r} is there twice")
            seen.add(name)
    return members


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"{text[:40]} is beyond a 64-bit float")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _plain(value: object, levels_left: int) -> object:
    """``value`` with everything that JSON cannot say told as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else repr(value)
    if levels_left == 0:
        return None
    if isinstance(value, dict):
        return {str(name): _plain(item, levels_left - 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, levels_left - 1) for item in value]
    return repr(value)
