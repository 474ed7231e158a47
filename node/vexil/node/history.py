"""The audit trail: the log, newest first, with what each change did and what of it lost a race."""

from __future__ import annotations

from typing import Any

from vexil.crdt import hlc as hlcs
from vexil.crdt import schema
from vexil.crdt.cell import live
from vexil.crdt.change import Change, Operation, Undecodable, decode
from vexil.crdt.payload import TOMBSTONE, UNREADABLE
from vexil.crdt.payload import decode as decode_payload
from vexil.crdt.policy import latest
from vexil.node.directory import Directory
from vexil.node.project import Project
from vexil.node.seams import Store

SCANNED_MAX = 10_000
"""Changes looked at for one page: a filter that matches little gets an early page with a token to go on."""
BATCH = 500


class History:
    """Pages of one node's log."""

    def __init__(self, store: Store, directory: Directory) -> None:
        """Read from ``store``; names of nodes and regions come from ``directory``."""
        self._store = store
        self._directory = directory

    async def page(
        self,
        project: Project,
        *,
        flag: str | None = None,
        author: str | None = None,
        after_ms: int | None = None,
        until_ms: int | None = None,
        page_size: int = 100,
        page_token: str | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Items newest first, and the token of the next page (None: there is none).

        ``after_ms`` and ``until_ms`` bound the stamps (exclusive, inclusive). Raises StoreError.
        """
        items: list[dict[str, Any]] = []
        cursor = page_token
        scanned = 0
        wanted = None if flag is None else schema.flag_object(flag)
        while scanned < SCANNED_MAX:
            rows = await self._store.read_history(project.name, before=cursor, limit=BATCH)
            for row in rows:
                scanned += 1
                cursor = row.cursor
                try:
                    change = decode(row.raw)
                except Undecodable:
                    continue
                if self._matches(change, wanted, author, after_ms, until_ms):
                    items.append(self._item(project, change, wanted))
                    if len(items) >= page_size:
                        return items, cursor
            if len(rows) < BATCH:
                return items, None
        return items, cursor

    @staticmethod
    def _matches(
        change: Change, wanted: str | None, author: str | None, after_ms: int | None, until_ms: int | None
    ) -> bool:
        ms = hlcs.milliseconds(change.hlc)
        return (
            (author is None or change.author == author)
            and (after_ms is None or ms > after_ms)
            and (until_ms is None or ms <= until_ms)
            and (wanted is None or any(_about(o) == wanted for o in change.operations))
        )

    def _item(self, project: Project, change: Change, wanted: str | None) -> dict[str, Any]:
        place = self._directory.place_of(change.incarnation)
        fields = []
        for i, operation in enumerate(change.operations):
            about = _about(operation)
            if (wanted is not None and about != wanted) or _is_touch(operation):
                continue
            kind, name = schema.parse_object(about) or ("", about)
            before = change.before[i] if i < len(change.before) else None
            parked = about != operation.object
            fields.append(
                {
                    "kind": kind,
                    "name": name,
                    # Told where it belongs to, as something that happened to it.
                    "field": operation.object if parked else operation.field,
                    "before": _told(before) if parked else before,
                    "after": _told(_after(operation)) if parked else _after(operation),
                    "removed": decode_payload(operation.payload).value is TOMBSTONE,
                    "lost": _lost(project, change, operation),
                }
            )
        return {
            "id": change.id,
            "hlc": hlcs.render(change.hlc),
            "time": hlcs.render_time(hlcs.milliseconds(change.hlc)),
            "node": place[0] if place else None,
            "region": place[1] if place else None,
            "author": change.author,
            "message": change.message,
            "fields": fields,
        }


def _about(operation: Operation) -> str:
    """The object that it is about: a parked change is about the one that it could not be written to."""
    kind, _, _ = operation.object.partition("/")
    prefix = schema.parked_field("")
    if kind == schema.PARKED and operation.field.startswith(prefix):
        return operation.field.removeprefix(prefix)
    return operation.object


def _told(value: object) -> object:
    """Of a parked change, what a person wants to know in a trail: why, and what it would have written."""
    if not isinstance(value, dict) or not isinstance(value.get("operations"), list):
        return value
    writes = [op for op in value["operations"] if isinstance(op, list) and len(op) > 1]
    return {
        "reason": value.get("reason"),
        "author": value.get("author"),
        "time": value.get("time"),
        "writes": {str(op[1]): op[2] if len(op) > 2 else None for op in writes if op[1] != schema.EXISTS},
    }


def _is_touch(operation: Operation) -> bool:
    """Whether it only says again that its object exists, as every edit does: nothing that its author meant to tell."""
    value = _after(operation)
    return operation.field == schema.EXISTS and isinstance(value, dict) and "created" in value


def _after(operation: Operation) -> object:
    value = decode_payload(operation.payload).value
    return None if value is TOMBSTONE or value is UNREADABLE else value


def _lost(project: Project, change: Change, operation: Operation) -> bool:
    """Whether this write is still there but another, concurrent one is shown in its place."""
    lanes = live(project.replica.cell(operation.object, operation.generation, operation.field))
    shown = latest(lanes)
    return (
        shown is not None
        and shown[:2] != change.dot
        and any(lane[:2] == change.dot for lane in lanes)
        and shown.payload != operation.payload
    )
