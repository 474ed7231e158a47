"""The answers for keys of no flag, with the caller's default in them.

They say nothing about a set, so those that were given last are kept for the whole process: who asks again for a boolean
is given the same object. Answers for keys that somebody makes up replace each other.
"""

from __future__ import annotations

from typing import Final

from vexil.sdk.answers import Evaluation
from vexil.sdk.codes import ERROR, FLAG_NOT_FOUND
from vexil.sdk.limits import ERROR_DETAILS_CHARACTERS_MAX, FLAG_KEY_BYTES_MAX, UNKNOWN_KEPT_MAX


class NotThere(dict[str, Evaluation]):
    """By key the answer that there is no such flag, with one and the same default."""

    __slots__ = ("_default",)

    def __init__(self, default: object) -> None:
        super().__init__()
        self._default = default

    def __missing__(self, key: str) -> Evaluation:
        answer = not_there(key, self._default)
        if type(key) is str and len(key) <= FLAG_KEY_BYTES_MAX:
            if len(self) >= UNKNOWN_KEPT_MAX:
                self.clear()
            self[key] = answer
        return answer


TRUE: Final = NotThere(True)
FALSE: Final = NotThere(False)


def not_there(key: str, default: object) -> Evaluation:
    """The answer that there is no flag ``key``, which is whatever a caller took for one."""
    asked: object = key
    which = repr(asked) if isinstance(asked, str) else f"for a key of type {type(asked).__name__}"
    details = f"there is no flag {which}"[:ERROR_DETAILS_CHARACTERS_MAX]
    return Evaluation(key, default, "", ERROR, FLAG_NOT_FOUND, details)
