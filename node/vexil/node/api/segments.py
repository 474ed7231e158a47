"""Segments: list, read, replace, edit, delete, and members one by one.

A segment may have a million members, so only a read of the segment itself shows them all; lists and answers to writes
of members say how many there are.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import Any, Final

from vexil.crdt.schema import SEGMENT, segment_object
from vexil.crdt.segment_state import SegmentState, describe_segment
from vexil.node import authoring
from vexil.node.api.auth import EDITOR, VIEWER
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.api.paging import PAGE_FIELDS, Cursor
from vexil.node.api.writing import change_of, write, written
from vexil.node.authoring import Intent
from vexil.node.errors import NotFound
from vexil.node.project import Project

_READ: Final = Access(role=VIEWER)
_WRITE: Final = Access(role=EDITOR)
ETAG_MEMBERS_MAX = 10_000
"""An ETag looks at every member: the answer to a write of a larger segment goes without, its GET has it."""


async def list_segments(call: Call) -> Answer:
    """Segments by key, with the number of their members."""
    cursor = Cursor(call)
    keys = call.project.segment_keys()
    at = bisect_right(keys, cursor.after or "")
    page = keys[at : at + cursor.size]
    items = [_summary(state) for key in page if (state := call.project.segment(key)) is not None]
    return cursor.answer(items, page[-1] if at + cursor.size < len(keys) else None)


async def get_segment(call: Call) -> Answer:
    """One segment with all its members, and its ETag."""
    key = call.arguments["key"]
    state = call.project.segment(key)
    if state is None:
        raise NotFound(SEGMENT, key)
    return Answer(describe_segment(state), headers={"ETag": _etag(call.project, key)})


async def put_segment(call: Call) -> Answer:
    """Create or replace; 201 for a create."""
    key, body = call.arguments["key"], call.json()
    new_id, if_match = call.services.new_id, call.if_match

    def decide(project: Project) -> Intent:
        return authoring.put_segment(project, key, body, new_id=new_id, if_match=if_match)

    outcome = await write(call, decide, project=call.project.name)
    state = call.project.segment(key)
    # A generation is named by the change that made it: a retry of a create is told from an edit by that.
    created = state is not None and state.generation == outcome.dot
    return _segment_written(call, key, change_of(outcome), status=201 if created else 200)


async def patch_segment(call: Call) -> Answer:
    """Merge patch."""
    key, patch = call.arguments["key"], call.json()
    new_id, if_match = call.services.new_id, call.if_match

    def decide(project: Project) -> Intent:
        return authoring.patch_segment(project, key, patch, new_id=new_id, if_match=if_match)

    outcome = await write(call, decide, project=call.project.name)
    return _segment_written(call, key, change_of(outcome))


async def delete_segment(call: Call) -> Answer:
    """Delete every generation that is alive here."""
    key, if_match = call.arguments["key"], call.if_match

    def decide(project: Project) -> Intent:
        return authoring.delete_segment(project, key, if_match=if_match)

    return written(await write(call, decide, project=call.project.name))


async def change_members(call: Call) -> Answer:
    """Add and remove members."""
    key, body, if_match = call.arguments["key"], call.json(), call.if_match

    def decide(project: Project) -> Intent:
        return authoring.change_members(project, key, body, if_match=if_match)

    outcome = await write(call, decide, project=call.project.name)
    return _segment_written(call, key, change_of(outcome))


def _segment_written(call: Call, key: str, change: object, *, status: int = 200) -> Answer:
    state = call.project.segment(key)
    if state is None:
        return Answer({"key": key, "change": change}, status)
    small = len(state.members) <= ETAG_MEMBERS_MAX
    headers = {"ETag": _etag(call.project, key)} if small else {}
    return Answer({**_summary(state), "change": change}, status, headers)


def _summary(state: SegmentState) -> dict[str, Any]:
    """The segment without its members, which may be many; their number instead."""
    described = describe_segment(replace(state, members=set()))
    del described["members"]
    return {**described, "members_count": len(state.members)}


def _etag(project: Project, key: str) -> str:
    return authoring.etag_of(project.replica.cells(segment_object(key)))


_SEGMENTS: Final = "/api/v1/projects/<project>/segments"
_ONE: Final = f"{_SEGMENTS}/<key>"
ROUTES: Final = (
    Route(method="GET", path=_SEGMENTS, handler=list_segments, access=_READ, query=PAGE_FIELDS),
    Route(method="GET", path=_ONE, handler=get_segment, access=_READ),
    Route(method="PUT", path=_ONE, handler=put_segment, access=_WRITE, writes=True),
    Route(method="PATCH", path=_ONE, handler=patch_segment, access=_WRITE, writes=True),
    Route(method="DELETE", path=_ONE, handler=delete_segment, access=_WRITE, writes=True),
    Route(method="POST", path=f"{_ONE}/members", handler=change_members, access=_WRITE, writes=True),
)
