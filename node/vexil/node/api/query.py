"""Query fields, read strictly: a field that nobody knows, or one that is there twice, is a mistake of the caller.

``?environmnt=prod`` must not mean "all environments".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from vexil.node.api.limits import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, QUERY_FIELDS_MAX
from vexil.node.errors import Malformed

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}
_DIGITS_MAX: Final = 18


class Query:
    """The query fields of one request."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        """See `parse`."""
        self._fields = fields

    def text(self, name: str) -> str | None:
        """A field as it was sent; None if it was not."""
        return self._fields.get(name)

    def needed(self, name: str) -> str:
        """A field that must be there. Raises Malformed."""
        value = self._fields.get(name)
        if not value:
            raise Malformed(f"the query field {name} is missing")
        return value

    def boolean(self, name: str) -> bool | None:
        """``true`` or ``false``; None if it was not sent. Raises Malformed."""
        value = self._fields.get(name)
        if value is None or value == "":
            return None
        found = _BOOLEANS.get(value.lower())
        if found is None:
            raise Malformed(f"the query field {name} must be true or false")
        return found

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``, the first by default. Raises Malformed."""
        value = self._fields.get(name) or choices[0]
        if value not in choices:
            raise Malformed(f"the query field {name} must be one of {', '.join(choices)}")
        return value

    def page_size(self) -> int:
        """``page_size``. Raises Malformed."""
        value = self._fields.get("page_size")
        if value is None:
            return PAGE_SIZE_DEFAULT
        size = whole_number(value)
        if size is None or not 1 <= size <= PAGE_SIZE_MAX:
            raise Malformed(f"page_size must be a whole number from 1 to {PAGE_SIZE_MAX}")
        return size

    def time_ms(self, name: str) -> int | None:
        """An RFC 3339 time in milliseconds since the Unix epoch; None if it was not sent. Raises Malformed."""
        value = self._fields.get(name)
        if not value:
            return None
        try:
            # A `+` of an offset that was not escaped has become a space on the way.
            moment = datetime.fromisoformat(
                value.replace(" ", "+") if value.count(" ") == 1 and "T" in value else value
            )
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise Malformed(f"the query field {name} must be an RFC 3339 time like 2026-01-31T12:00:00Z")
        return int((moment - _EPOCH).total_seconds() * 1000)


def parse(query_string: bytes, *, known: frozenset[str] | None) -> Query:
    """The fields of a query string; ``known`` are the names that there are, None if others are passed over.

    Raises Malformed.
    """
    if not query_string:
        return _NONE
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:
        raise Malformed("the query cannot be read") from None
    fields = dict(pairs)
    if known is not None:
        if len(fields) != len(pairs):
            raise Malformed("a query field is there twice")
        for name in fields:
            if name not in known:
                allowed = f"; there are {', '.join(sorted(known))}" if known else ""
                raise Malformed(f"there is no query field {name!r} here{allowed}")
    return Query(fields)


def whole_number(text: str) -> int | None:
    """The number that plain decimal digits say; None for any other text."""
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS_MAX:
        return None
    return int(text)


_NONE: Final = Query({})
