"""Several operations in one atomic change, the audit trail of all changes, and the conflicts between them."""

from __future__ import annotations

from typing import Any, Final

from vexil.crdt import schema
from vexil.crdt.conflicts import ConflictRecord, Sibling
from vexil.crdt.hlc import milliseconds, render_time
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import authoring
from vexil.node.api.auth import EDITOR, VIEWER
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.api.limits import PAGE_TOKEN_CHARACTERS_MAX
from vexil.node.api.paging import PAGE_FIELDS, Cursor
from vexil.node.api.port import Outcome
from vexil.node.api.writing import write, written
from vexil.node.authoring import Intent
from vexil.node.authoring.conflict_choice import resolve_conflict
from vexil.node.errors import Malformed
from vexil.node.project import Project

_READ: Final = Access(role=VIEWER)
_WRITE: Final = Access(role=EDITOR)
_KILL: Final = schema.kill_field("")


async def change_set(call: Call) -> Answer:
    """Several operations, all or none."""
    body = call.json()
    new_id = call.services.new_id
    results: list[dict[str, object]] | None = None

    def decide(project: Project) -> Intent:
        nonlocal results
        decided = authoring.change_set(project, body, new_id=new_id)
        results = decided.results
        return decided.intent

    outcome = await write(call, decide, project=call.project.name, message=authoring.message_of(body))
    if results is None:
        # An earlier try has been decided elsewhere; the body is the same, so it names the same things.
        results = _named(body)
    return written(outcome, {"results": results})


def _named(body: dict[str, Any]) -> list[dict[str, object]]:
    found = []
    for operation in body["operations"]:
        result = {name: operation[name] for name in ("op", schema.FLAG, schema.SEGMENT) if name in operation}
        rule = operation.get("rule")
        if isinstance(rule, dict) and rule.get("id") is not None:
            result["rule"] = rule["id"]
        found.append(result)
    return found


async def history(call: Call) -> Answer:
    """Changes, newest first; filters ``flag``, ``author``, ``after`` (exclusive), ``until`` (inclusive)."""
    token = call.query.text("page_token") or None
    if token is not None and len(token) > PAGE_TOKEN_CHARACTERS_MAX:
        raise Malformed("page_token is not one that this list has given")
    size, after_ms, until_ms = (
        call.query.page_size(),
        call.query.time_ms("after"),
        call.query.time_ms("until"),
    )
    try:
        items, following = await call.node.history.page(
            call.project,
            flag=call.query.text("flag") or None,
            author=call.query.text("author") or None,
            after_ms=after_ms,
            until_ms=until_ms,
            page_size=size,
            page_token=token,
        )
    except ValueError:
        raise Malformed("page_token is not one that this list has given") from None
    if call.project.name == SYSTEM_PROJECT:
        items = [_without_hashes(item) for item in items]
    for item in items:
        item["fields"] = [_placed(field) for field in item["fields"]]
    return Answer({"items": items, "next_page_token": following})


def _placed(field: dict[str, Any]) -> dict[str, Any]:
    """A field of the trail with ``flag`` or ``segment``, and ``environment``, as conflicts name them."""
    kind, name = field["kind"], field["name"]
    environment = schema.flag_field(field["field"]).environment if kind == schema.FLAG else None
    if kind == schema.FLAG and field["field"].startswith(_KILL):
        environment = field["field"].removeprefix(_KILL)
    elif kind == schema.FLAGD:
        environment = name
    named = {kind: name} if kind in {schema.FLAG, schema.SEGMENT} else {}
    return {**named, "environment": environment, **field}


def _without_hashes(value: Any) -> Any:
    """A key's hash opens nothing, but it is nobody's business either."""
    if isinstance(value, dict):
        return {name: _without_hashes(item) for name, item in value.items() if name != "hash"}
    if isinstance(value, list):
        return [_without_hashes(item) for item in value]
    return value


async def conflicts(call: Call) -> Answer:
    """Races and defects that nobody has settled, by id."""
    cursor = Cursor(call)
    records = {record.id: record for record in call.project.conflicts()}
    page, more = cursor.cut(records)
    items = [_conflict(call, records[record_id]) for record_id in page]
    return cursor.answer(_without_hashes(items) if call.project.name == SYSTEM_PROJECT else items, more)


async def resolve(call: Call) -> Answer:
    """Settle a conflict on top of all its siblings."""
    record_id, body = call.arguments["conflict"], call.json()

    def decide(project: Project) -> Intent:
        return resolve_conflict(project, record_id, body)

    outcome: Outcome = await write(call, decide, project=call.project.name)
    return written(outcome)


def _conflict(call: Call, record: ConflictRecord) -> dict[str, Any]:
    kind, name = schema.parse_object(record.object) or ("", record.object)
    shown = {
        "id": record.id,
        "kind": record.kind,
        "flag": name if kind == schema.FLAG else None,
        "environment": record.environment,
        "field": record.field,
        "winner": record.winner,
        "siblings": [_sibling(call, sibling) for sibling in record.siblings],
    }
    if kind == schema.SEGMENT:
        shown["segment"] = name
    elif kind == schema.FLAGD:
        shown["environment"] = name
    elif kind != schema.FLAG:
        shown["object"] = record.object
    if record.reason:
        shown["reason"] = record.reason
    return shown


def _sibling(call: Call, sibling: Sibling) -> dict[str, Any]:
    place = sibling.place or call.node.directory.place_of(sibling.incarnation)
    shown: dict[str, Any] = {
        "change": sibling.change,
        "value": sibling.value,
        "author": sibling.author,
        "region": place[1] if place else None,
        "node": place[0] if place else None,
        "time": render_time(milliseconds(sibling.hlc)),
    }
    # A value that is null, one that was taken away and one that this version cannot read look alike otherwise.
    if sibling.removed:
        shown["removed"] = True
    if not sibling.readable:
        shown["readable"] = False
    return shown


_PROJECT: Final = "/api/v1/projects/<project>"
_CONFLICTS: Final = f"{_PROJECT}/conflicts"
ROUTES: Final = (
    Route(method="POST", path=f"{_PROJECT}/changes", handler=change_set, access=_WRITE, writes=True),
    Route(
        method="GET",
        path=f"{_PROJECT}/history",
        handler=history,
        access=_READ,
        query=PAGE_FIELDS | {"flag", "author", "after", "until"},
    ),
    Route(method="GET", path=_CONFLICTS, handler=conflicts, access=_READ, query=PAGE_FIELDS),
    Route(
        method="POST",
        path=f"{_CONFLICTS}/<conflict>/resolve",
        handler=resolve,
        access=_WRITE,
        writes=True,
        any_project=True,
    ),
)
