"""Flags: list, create, read, edit, delete, and the kill switch."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final

import trio

from vexil.crdt.flag_document import describe
from vexil.crdt.flag_state import FlagState
from vexil.crdt.schema import FLAG, flag_object
from vexil.node import authoring
from vexil.node.api.auth import EDITOR, VIEWER
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.api.paging import PAGE_FIELDS, Cursor
from vexil.node.api.port import Outcome
from vexil.node.api.writing import change_of, write, written
from vexil.node.authoring import Intent
from vexil.node.errors import NotFound
from vexil.node.project import Project

_READ: Final = Access(role=VIEWER)
_WRITE: Final = Access(role=EDITOR)
SCANNED_PER_TURN = 64
"""After so many flags others get a turn: a filter may have to look at a hundred thousand."""


async def list_flags(call: Call) -> Answer:
    """Flags by key; filters ``tag``, ``q`` (text in key or description) and ``archived``."""
    tag, text, archived = call.query.text("tag"), call.query.text("q"), call.query.boolean("archived")
    cursor = Cursor(call, tag, text, archived)
    wanted = text.casefold() if text else None
    items: list[dict[str, Any]] = []
    after = cursor.after or ""
    scanned = 0
    while True:
        # Looked up anew each time: while others had their turn the list may have changed.
        keys = call.project.flag_keys()
        at = bisect_right(keys, after)
        if at >= len(keys):
            return cursor.answer(items, None)
        if len(items) == cursor.size:
            return cursor.answer(items, after)
        after = keys[at]
        state = call.project.flag(after)
        if state is not None and _matches(state, tag, wanted, archived):
            items.append(describe(state))
        scanned += 1
        if scanned % SCANNED_PER_TURN == 0:
            await trio.lowlevel.checkpoint()


def _matches(state: FlagState, tag: str | None, text: str | None, archived: bool | None) -> bool:  # noqa: FBT001 - a filter as it was parsed
    return (
        (not tag or tag in state.tags)
        and (archived is None or state.archived is archived)
        and (text is None or text in state.key.casefold() or text in state.description.casefold())
    )


async def get_flag(call: Call) -> Answer:
    """One flag and its ETag."""
    key = call.arguments["key"]
    state = call.project.flag(key)
    if state is None:
        raise NotFound(FLAG, key)
    return Answer(describe(state), headers={"ETag": _etag(call.project, key)})


async def create_flag(call: Call) -> Answer:
    """Create a flag; 201."""
    body = call.json()
    new_id = call.services.new_id

    def decide(project: Project) -> Intent:
        return authoring.create_flag(project, body, new_id=new_id)

    outcome = await write(call, decide, project=call.project.name)
    # It has been accepted, so the body is an object with a key.
    return flag_written(call, body["key"], outcome, status=201)


async def patch_flag(call: Call) -> Answer:
    """Merge patch."""
    key, patch = call.arguments["key"], call.json()
    new_id, if_match = call.services.new_id, call.if_match

    def decide(project: Project) -> Intent:
        return authoring.patch_flag(project, key, patch, new_id=new_id, if_match=if_match)

    return flag_written(call, key, await write(call, decide, project=call.project.name))


async def delete_flag(call: Call) -> Answer:
    """Delete every generation that is alive here."""
    key, if_match = call.arguments["key"], call.if_match

    def decide(project: Project) -> Intent:
        return authoring.delete_flag(project, key, if_match=if_match)

    return written(await write(call, decide, project=call.project.name))


async def kill_flag(call: Call) -> Answer:
    """Throw the kill switch. It is always written, and nothing in the body could keep it from being."""
    key, environment, if_match = call.arguments["key"], call.arguments["environment"], call.if_match

    def decide(project: Project) -> Intent:
        return authoring.kill_flag(project, key, environment, if_match=if_match)

    return flag_written(call, key, await write(call, decide, project=call.project.name))


async def unkill_flag(call: Call) -> Answer:
    """Clear a kill that the author has seen."""
    key, environment, if_match = call.arguments["key"], call.arguments["environment"], call.if_match

    def decide(project: Project) -> Intent:
        return authoring.unkill_flag(project, key, environment, if_match=if_match)

    return flag_written(call, key, await write(call, decide, project=call.project.name))


def flag_written(call: Call, key: str, outcome: Outcome, *, status: int = 200) -> Answer:
    """The flag as it is now, with the change; by now somebody may have deleted it again."""
    state = call.project.flag(key)
    if state is None:
        return written(outcome, {"key": key}, status=status)
    body = {**describe(state), "change": change_of(outcome)}
    return Answer(body, status, {"ETag": _etag(call.project, key)})


def _etag(project: Project, key: str) -> str:
    return authoring.etag_of(project.replica.cells(flag_object(key)))


_FLAGS: Final = "/api/v1/projects/<project>/flags"
_SWITCH: Final = f"{_FLAGS}/<key>/environments/<environment>"
ROUTES: Final = (
    Route(
        method="GET",
        path=_FLAGS,
        handler=list_flags,
        access=_READ,
        query=PAGE_FIELDS | {"tag", "q", "archived"},
    ),
    Route(method="POST", path=_FLAGS, handler=create_flag, access=_WRITE, writes=True),
    Route(method="GET", path=f"{_FLAGS}/<key>", handler=get_flag, access=_READ),
    Route(method="PATCH", path=f"{_FLAGS}/<key>", handler=patch_flag, access=_WRITE, writes=True),
    Route(method="DELETE", path=f"{_FLAGS}/<key>", handler=delete_flag, access=_WRITE, writes=True),
    Route(method="POST", path=f"{_SWITCH}/kill", handler=kill_flag, access=_WRITE, writes=True),
    Route(method="POST", path=f"{_SWITCH}/unkill", handler=unkill_flag, access=_WRITE, writes=True),
)
