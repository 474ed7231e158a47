"""Lists in pages that stay true while the list changes.

A page token says after which key the next page begins, and nothing about positions: what is inserted or removed in
between moves no other item from one page to another. It belongs to one list with one set of filters.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, Final

import msgpack

from vexil.node.api.exchange import Answer, Call
from vexil.node.api.limits import PAGE_TOKEN_CHARACTERS_MAX
from vexil.node.errors import Malformed

PAGE_FIELDS: Final = frozenset(("page_size", "page_token"))
_DIGEST_BYTES: Final = 6
_TOKEN: Final = "page_token"  # noqa: S105 - the name of a query field


class Cursor:
    """Where a page begins, and how to say where the next one does."""

    __slots__ = ("_list", "after", "size")

    def __init__(self, call: Call, *filters: object) -> None:
        """The cursor of a request for the list at its route and path, under ``filters``. Raises Malformed."""
        self._list = _digest(call.route.path, sorted(call.arguments.items()), *filters)
        self.size = call.query.page_size()
        self.after = self._read(call.query.text(_TOKEN))

    def token(self, last: str) -> str:
        """The token of the page behind the item ``last``."""
        return base64.urlsafe_b64encode(msgpack.packb([self._list, last])).decode().rstrip("=")

    def _read(self, text: str | None) -> str | None:
        if not text:
            return None
        try:
            if len(text) > PAGE_TOKEN_CHARACTERS_MAX:
                raise ValueError("too long")
            packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            of_list, after = msgpack.unpackb(packed)
            if of_list != self._list or not isinstance(after, str):
                raise ValueError("another list's")
        except (ValueError, TypeError, binascii.Error, msgpack.UnpackException):
            raise Malformed("page_token is not one that this list has given") from None
        return after

    def answer(self, items: Sequence[Any], next_after: str | None) -> Answer:
        """One page; ``next_after`` is the key behind which more may come, None at the end."""
        token = None if next_after is None else self.token(next_after)
        return Answer({"items": items, "next_page_token": token})

    def cut(self, keys: Iterable[str]) -> tuple[list[str], str | None]:
        """The keys of this page out of all ``keys``, in any order, and what `answer` needs."""
        rest = sorted(key for key in keys if self.after is None or key > self.after)
        page = rest[: self.size]
        return page, page[-1] if len(rest) > len(page) else None


def _digest(*parts: object) -> bytes:
    return sha256(repr(parts).encode("utf-8", "backslashreplace")).digest()[:_DIGEST_BYTES]
