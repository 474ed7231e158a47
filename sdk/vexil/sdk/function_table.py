"""The functions of a flag set by their keys: made when they are first asked for, those of unknown keys kept as well.

The one idea: a key of no flag is looked up as any other, and what it leads to is one object that a caller can tell from
every flag's function without calling it. So a typing error costs a service no more than a flag does, and what is kept
of keys that somebody makes up is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from vexil.sdk.answers import NOT_FOUND
from vexil.sdk.compiler.compiler import Function, always
from vexil.sdk.limits import FLAG_KEY_BYTES_MAX, UNKNOWN_KEPT_MAX

UNKNOWN: Final = always(NOT_FOUND).function(None)
"""The function of every flag that is not there."""


class Maker(Protocol):
    """What the functions ask of their flag set."""

    @property
    def _flags(self) -> Mapping[str, Any]:
        """Every flag by its key."""

    def function_of(self, key: str) -> Function:
        """Make the function of flag ``key``, which is there, and keep it."""


class Functions(dict[str, Function]):
    """By the key of a flag its function; by any other key ``UNKNOWN``.

    At most ``UNKNOWN_KEPT_MAX`` unknown keys are kept, the first ones that were asked for; others cost a little more.
    """

    __slots__ = ("_flag_set", "_unknown")

    def __init__(self, flag_set: Maker) -> None:
        super().__init__()
        self._flag_set = flag_set
        self._unknown: set[str] = set()

    def __missing__(self, key: str) -> Function:
        flag_set = self._flag_set
        if key in flag_set._flags:  # noqa: SLF001 - a part of it
            return flag_set.function_of(key)
        unknown = self._unknown
        if len(unknown) < UNKNOWN_KEPT_MAX and type(key) is str and len(key) <= FLAG_KEY_BYTES_MAX:
            unknown.add(key)  # before it can be found, for `of_flags`
            self[key] = UNKNOWN
        return UNKNOWN

    def of_flags(self) -> dict[str, Function]:
        """A copy, without the keys of no flag; others may ask meanwhile."""
        copied = dict.copy(self)
        for key in self._unknown.copy():
            copied.pop(key, None)
        return copied

    def forget(self, key: str) -> None:
        """``key`` is another flag now, or none."""
        self.pop(key, None)
        self._unknown.discard(key)

    def forget_all(self) -> None:
        """Every flag is compiled another way now."""
        self.clear()
        self._unknown.clear()
