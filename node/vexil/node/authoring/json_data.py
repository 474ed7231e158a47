"""Decoded JSON as it comes from outside: what may be in it, when two pieces are the same, and how to say what is wrong.

A body is looked through once, without recursion, before anything else touches it. After that every text in it can be
encoded, every number fits 64 bits, and nothing is nested deeper than `BODY_DEPTH_MAX`; so the rest of the code may
recurse and store without care.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from vexil.node.authoring.limits import BODY_DEPTH_MAX, NAME_BYTES_MAX
from vexil.node.errors import FieldError, Invalid, LimitExceeded

INTEGER_MIN = -(1 << 63)
INTEGER_MAX = (1 << 63) - 1
MISTAKES_MAX = 1000
"""A body is not searched for more mistakes than this."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


def pointer(path: str, *steps: str | int) -> str:
    """The JSON pointer ``path`` (RFC 6901) continued by member names and indices."""
    return path + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


class Mistakes:
    """What is wrong with one body; collected, so that an author hears of all of it at once."""

    __slots__ = ("_found", "_kind")

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._found: list[FieldError] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: str, detail: str) -> None:
        """Note a mistake at ``path``; past `MISTAKES_MAX` everything found so far is raised."""
        self._found.append(FieldError(path, detail))
        if len(self._found) >= MISTAKES_MAX:
            self.refuse()

    def refuse(self) -> None:
        """Raise Invalid if anything was noted."""
        if self._found:
            raise Invalid(self._kind, self._found)

    # Each of the following notes a mistake and gives a harmless stand-in if ``value`` is not what it must be.

    def mapping(self, path: str, value: object) -> Mapping[str, object]:
        """An object."""
        if isinstance(value, dict):
            return value
        self.add(path, "must be an object")
        return {}

    def array(self, path: str, value: object) -> list[object]:
        """An array."""
        if isinstance(value, list):
            return value
        self.add(path, "must be an array")
        return []

    def boolean(self, path: str, value: object) -> bool:
        """True or false."""
        if not isinstance(value, bool):
            self.add(path, "must be true or false")
        return value is True

    def text(self, path: str, value: object, *, bytes_max: int = NAME_BYTES_MAX, empty: bool = False) -> str:
        """A text of at most ``bytes_max`` bytes of UTF-8."""
        if not isinstance(value, str):
            self.add(path, "must be a text")
            return ""
        if not value and not empty:
            self.add(path, "must not be empty")
        if len(value.encode()) > bytes_max:
            self.add(path, f"must be at most {bytes_max} bytes")
        return value

    def name(self, path: str, value: object, *, bytes_max: int = NAME_BYTES_MAX) -> str:
        """A name as flags, environments and rules have one."""
        text = self.text(path, value, bytes_max=bytes_max)
        if text and not _NAME.fullmatch(text):
            self.add(path, "must match [A-Za-z0-9][A-Za-z0-9._-]*")
        return text

    def only(self, path: str, value: Mapping[str, object], allowed: frozenset[str]) -> None:
        """No member outside ``allowed``."""
        for member in value:
            if member not in allowed:
                self.add(pointer(path, member), "there is no such member")


def look_through(kind: str, body: object, at: str = "") -> None:
    """Raise if anything in ``body``, which is at the path ``at``, cannot be stored.

    Invalid has the path of each such place; LimitExceeded is for the depth of the whole.
    """
    mistakes = Mistakes(kind)
    todo: list[tuple[str, object, int]] = [(at, body, 1)]
    while todo:
        path, value, level = todo.pop()
        if isinstance(value, dict | list):
            if level > BODY_DEPTH_MAX:
                raise LimitExceeded("body_depth", f"nested deeper than {BODY_DEPTH_MAX}")
            steps = value.items() if isinstance(value, dict) else enumerate(value)
            for step, item in steps:
                if isinstance(step, int) or _storable_text(step):
                    todo.append((pointer(path, step), item, level + 1))
                else:
                    mistakes.add(path, "has a member name that is not Unicode text")
        elif isinstance(value, str):
            if not _storable_text(value):
                mistakes.add(path, "is not Unicode text")
        elif isinstance(value, bool) or value is None:
            continue
        elif isinstance(value, int):
            if not INTEGER_MIN <= value <= INTEGER_MAX:
                mistakes.add(path, "is beyond 64 bits")
        elif not isinstance(value, float) or not math.isfinite(value):
            mistakes.add(path, "is not JSON")
    mistakes.refuse()


def _storable_text(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can say it, UTF-8 cannot
        return False
    return True


def same(left: object, right: object) -> bool:
    """Whether two pieces of JSON data say the same: ``1`` and ``1.0`` do, ``1`` and ``true`` do not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(item, right[name]) for name, item in left.items())
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return left == right


def merge_patch(target: object, patch: object) -> object:
    """RFC 7396: objects merge by member, ``null`` removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for member, value in patch.items():
        if value is None:
            merged.pop(member, None)
        else:
            merged[member] = merge_patch(merged.get(member), value)
    return merged
