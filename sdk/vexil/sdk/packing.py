"""Packed flags: documents kept as the text that they came as.

A decoded document takes ten times its text, and once a flag is compiled nobody looks at it but who writes the set down
or compiles it anew. So a client keeps texts, and documents only for as long as somebody reads one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final, cast

from vexil.sdk.shapes import FlagDocument

# No check for circles: a document that came as JSON has none, and in another one the encoder ends at its own depth.
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)


class Packed:
    """A flag's document as compact JSON."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text


class Unpacking(Mapping[str, FlagDocument]):
    """Flags by their key, each unpacked whenever it is asked for; a live view."""

    __slots__ = ("_flags",)

    def __init__(self, flags: Mapping[str, FlagDocument | Packed]) -> None:
        self._flags = flags

    def __getitem__(self, key: str) -> FlagDocument:
        return unpack(self._flags[key])

    def __contains__(self, key: object) -> bool:
        return key in self._flags

    def __iter__(self) -> Iterator[str]:
        return iter(self._flags)

    def __len__(self) -> int:
        return len(self._flags)


def pack(document: FlagDocument) -> FlagDocument | Packed:
    """``document`` packed; as it is, if it is not JSON."""
    try:
        return Packed(_ENCODER.encode(document).encode("ascii"))
    except (TypeError, ValueError, RecursionError):
        return document


def unpack(kept: FlagDocument | Packed) -> FlagDocument:
    """The document; nobody else has it if it was packed."""
    return cast(FlagDocument, json.loads(kept.text)) if isinstance(kept, Packed) else kept
