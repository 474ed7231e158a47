"""Server-sent events: bytes in, events out. No I/O.

The one idea: a stream is endless but each event is bounded, and bytes are looked at once however they are cut. A line
ends in LF, CR LF or CR; an empty line ends an event; what the stream leaves unfinished is never an event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vexil.sdk.client.seams import AnswerTooLarge

_LF: Final = 0x0A
_DIGITS_MAX: Final = 9


class Event(NamedTuple):
    """One event; or a comment line, whose ``kind`` is ``""``: a sign of life. ``id`` is None if it has none."""

    kind: str
    data: bytes
    id: str | None


HEARTBEAT: Final = Event("", b"", None)


class EventReader:
    """Reads one stream from its start."""

    def __init__(self, *, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._rest: list[bytes] = []
        """Pieces of the line that is not finished yet."""
        self._after_cr = False
        self._bytes = 0
        """Of the event that is not finished yet, its unfinished line included."""
        self._kind = ""
        self._data: list[bytes] = []
        self._id: str | None = None
        self._first_line = True
        self.retry_ms: int | None = None
        """What the stream has last said about when to come back."""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that ``chunk`` finishes. Raises AnswerTooLarge for one over the bound; then it is over."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == _LF:
                chunk = chunk[1:]
        start = 0
        while start < len(chunk):
            end, after = self._line_end(chunk, start)
            piece = chunk[start : len(chunk) if end is None else end]
            self._bytes += len(piece) + 1
            if self._bytes > self._event_bytes_max:
                raise AnswerTooLarge(f"an event of more than {self._event_bytes_max} bytes")
            self._rest.append(piece)
            start = after
            if end is None:
                break
            line = b"".join(self._rest)
            self._rest.clear()
            yield from self._line(line)

    def _line_end(self, chunk: bytes, start: int) -> tuple[int | None, int]:
        """Where the line that goes on at ``start`` ends, and where the next one begins."""
        lf = chunk.find(b"\n", start)
        cr = chunk.find(b"\r", start, lf if lf >= 0 else len(chunk))
        if cr < 0:
            return (None, len(chunk)) if lf < 0 else (lf, lf + 1)
        if cr + 1 == len(chunk):
            self._after_cr = True
            return cr, cr + 1
        return cr, cr + 2 if chunk[cr + 1] == _LF else cr + 1

    def _line(self, line: bytes) -> Iterator[Event]:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            event = Event(self._kind or "message", b"\n".join(self._data), self._id)
            has_data = bool(self._data)
            self._kind, self._data, self._id, self._bytes = "", [], None, 0
            if has_data:
                yield event
            return
        if line.startswith(b":"):
            if not self._data:
                self._bytes = 0
            yield HEARTBEAT
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._kind = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _DIGITS_MAX:
            self.retry_ms = int(value)
