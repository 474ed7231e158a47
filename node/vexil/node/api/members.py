"""Members of the cluster: who they are, evicting one, and coming back from an eviction.

An eviction is a change of `_system` like any other: it can be made at any member, and each node knows of it when the
change arrives. Coming back is asked of the evicted node itself, with a key that its own state knows.
"""

from __future__ import annotations

from typing import Final

from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import membership
from vexil.node.api.auth import OWNER, VIEWER
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.api.paging import PAGE_FIELDS, Cursor
from vexil.node.api.writing import write, written
from vexil.node.authoring import Intent
from vexil.node.project import Project


async def list_members(call: Call) -> Answer:
    """Every slot that is or was a member, by name, as this node sees it."""
    cursor = Cursor(call)
    found = {str(member["node"]): member for member in call.node.members()}
    page, more = cursor.cut(found)
    return cursor.answer([found[name] for name in page], more)


async def evict(call: Call) -> Answer:
    """End the registration of a member, for good. Nothing is written for one that is evicted already."""
    name = call.arguments["node"]
    directory = call.node.directory

    def decide(_: Project) -> Intent:
        return membership.eviction(directory, name, own=call.node.name, by=call.caller.author)

    outcome = await write(call, decide, project=SYSTEM_PROJECT, message=f"{name} is evicted")
    return written(outcome, {"node": name})


async def come_back(call: Call) -> Answer:
    """Begin anew under a new registration, from an empty state; 202: the node is away for a moment."""
    call.node.return_now()
    return Answer({"node": call.node.name, "standing": "joining"}, 202, {"Cache-Control": "no-store"})


_OWNER: Final = Access(role=OWNER, everywhere=True)
ROUTES: Final = (
    Route(
        method="GET",
        path="/api/v1/members",
        handler=list_members,
        access=Access(role=VIEWER),
        query=PAGE_FIELDS,
        system=True,
    ),
    Route(
        method="POST",
        path="/api/v1/members/<node>/evict",
        handler=evict,
        access=_OWNER,
        writes=True,
        system=True,
    ),
    Route(method="POST", path="/api/v1/members/return", handler=come_back, access=_OWNER),
)
