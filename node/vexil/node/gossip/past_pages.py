"""Serving the past: pages of our history, newest first, to a node that has come up from a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vexil.crdt.change import peek_dot
from vexil.node.gossip import messages
from vexil.node.gossip.host import Host
from vexil.node.gossip.messages import Malformed, Message
from vexil.node.seams import HistoryRow

PAST: Final = "past"
PAGE_BYTES: Final = 256 << 10
SCANNED_MAX: Final = 1_000
"""Rows that one request makes us look at; what the asker has already is left out of the answer."""
CURSOR_BYTES_MAX: Final = 200


async def serve_past(host: Host, message: Message) -> bytes:
    """A page of our history, newest first, behind the cursor. Raises Malformed, StoreError."""
    name = message.text("project")
    cursor = message.text("cursor", limit_bytes=CURSOR_BYTES_MAX)
    first = message.vv("first")
    page_bytes = min(message.integer_or("page_bytes", PAGE_BYTES), PAGE_BYTES)
    rows: Sequence[HistoryRow] = ()
    if name in host.projects:
        try:
            rows = await host.own_log.read_history(name, before=cursor or None, limit=SCANNED_MAX)
        except ValueError:
            raise Malformed("cursor: none of this log") from None
    changes: list[bytes] = []
    size = 0
    more = len(rows) > 0
    for row in rows:
        dot = peek_dot(row.raw)
        if dot is not None and dot[1] < first.get(dot[0], dot[1] + 1):
            if changes and size + len(row.raw) > page_bytes:
                break
            changes.append(row.raw)
            size += len(row.raw)
        cursor = row.cursor
    host.count_bytes("sent", "payload", size)
    return messages.encode({"changes": changes, "cursor": cursor, "more": more})
