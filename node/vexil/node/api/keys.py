"""Access keys: make, list, revoke. The key itself is in the answer that makes it and nowhere else.

Another node knows a new key, or that one is revoked, when the change has come there; until then a new key is refused
there like any unknown one. To list the keys with the token of the answer that made it is to wait for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vexil.crdt import schema
from vexil.crdt.cell import Lane, live
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.hlc import milliseconds, render_time
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.crdt.system_state import KeyState
from vexil.node.api import access_keys
from vexil.node.api.access_keys import ADMIN, PREFIXES, NewKey
from vexil.node.api.auth import OWNER, ROLES, Caller
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.api.limits import KEY_NAME_BYTES_MAX
from vexil.node.api.paging import PAGE_FIELDS, Cursor
from vexil.node.api.port import Node
from vexil.node.api.writing import change_of, write, written
from vexil.node.authoring import Intent
from vexil.node.authoring.json_data import Mistakes, look_through
from vexil.node.authoring.settings import create_key, revoke_key
from vexil.node.errors import KeyForbidden, NotFound
from vexil.node.project import Project
from vexil.node.seams import Entropy

_MEMBERS: Final = frozenset(("kind", "role", "project", "environment", "name"))
_SHOWN: Final = ("kind", "role", "project", "environment", "name")


async def make(call: Call) -> Answer:
    """Make a key; 201. A repetition of the request names the key that was made and cannot show it again."""
    body = call.json()
    wanted = _wanted(call.node, body)
    _refuse_stranger(call.caller, wanted["project"])
    key, record = new_record(call.node, wanted, call.services.entropy)

    def decide(system: Project) -> Intent:
        return create_key(system, key.id, record)

    outcome = await write(call, decide, project=SYSTEM_PROJECT)
    made: tuple[str | None, str | None] = (key.id, key.text)
    if outcome.replayed:
        made = (_made_by(call.node, outcome.dot), None)
    body = {"id": made[0], "key": made[1], **_public(record), "change": change_of(outcome)}
    return Answer(body, 201, {"Cache-Control": "no-store"})


async def list_keys(call: Call) -> Answer:
    """The keys of the projects that the caller owns, revoked ones too, by id."""
    cursor = Cursor(call)
    states = call.node.directory.keys
    page, more = cursor.cut(key_id for key_id, state in states.items() if _is_owner(call.caller, state))
    items = [
        {
            "id": key_id,
            **_public(states[key_id].record or {}),
            "created": _created(call.node, key_id),
            "revoked": states[key_id].revoked,
        }
        for key_id in page
    ]
    return cursor.answer(items, more)


async def revoke(call: Call) -> Answer:
    """Revoke a key, for good."""
    key_id = call.arguments["key"]
    state = call.node.directory.keys.get(key_id)
    if state is None or not _is_owner(call.caller, state):
        # Whether a key of somebody else's project is there is not told.
        raise NotFound(schema.KEY, key_id)

    def decide(system: Project) -> Intent:
        return revoke_key(system, key_id)

    return written(await write(call, decide, project=SYSTEM_PROJECT), {"id": key_id, "revoked": True})


def new_record(node: Node, wanted: Mapping[str, Any], entropy: Entropy) -> tuple[NewKey, dict[str, object]]:
    """A new key and what is to be stored of it; ``wanted`` has the arguments of `access_keys.record`."""
    key = access_keys.new_key(wanted["kind"], entropy, taken=node.directory.keys.__contains__)
    return key, access_keys.record(hash_hex=key.hash, **wanted)


def _wanted(node: Node, body: object) -> dict[str, Any]:
    """The members of a request for a key. Raises Invalid."""
    look_through(schema.KEY, body)
    mistakes = Mistakes(schema.KEY)
    members = mistakes.mapping("", body)
    mistakes.only("", members, _MEMBERS)
    mistakes.refuse()
    kind, role = members.get("kind"), members.get("role")
    project, environment = members.get("project"), members.get("environment")
    name = members.get("name")
    if not isinstance(kind, str) or kind not in PREFIXES:
        mistakes.add("/kind", f"must be one of {', '.join(PREFIXES)}")
    if name is not None:
        mistakes.text("/name", name, bytes_max=KEY_NAME_BYTES_MAX, empty=True)
    known = node.directory.projects.get(project) if isinstance(project, str) else None
    if (project is not None or kind != ADMIN) and (known is None or not known.exists):
        mistakes.add("/project", "must be the name of a project")
    if kind == ADMIN:
        if role not in ROLES:
            mistakes.add("/role", f"must be one of {', '.join(ROLES)}")
        if environment is not None:
            mistakes.add("/environment", "is not for admin keys")
    else:
        if role is not None:
            mistakes.add("/role", "is for admin keys only")
        if known is None or environment not in known.environments:
            mistakes.add("/environment", "must be an environment of the project")
    mistakes.refuse()
    return {"kind": kind, "role": role, "project": project, "environment": environment, "name": name or ""}


def _refuse_stranger(caller: Caller, project: str | None) -> None:
    if not caller.may(OWNER, project):
        raise KeyForbidden(
            "a key for all projects is made with one" if project is None else f"you do not own {project!r}"
        )


def _is_owner(caller: Caller, state: KeyState) -> bool:
    project = (state.record or {}).get("project")
    return caller.may(OWNER, project if isinstance(project, str) else None)


def _public(record: Mapping[str, object]) -> dict[str, object]:
    return {name: record.get(name) for name in _SHOWN}


def _lanes(node: Node, key_id: str) -> list[Lane]:
    """Who has written the key's record; nobody ever writes it again."""
    replica = node.directory.system.replica
    return live(replica.cell(schema.key_object(key_id), NO_GENERATION, schema.RECORD))


def _created(node: Node, key_id: str) -> str | None:
    return min((render_time(milliseconds(lane.hlc)) for lane in _lanes(node, key_id)), default=None)


def _made_by(node: Node, dot: Dot | None) -> str | None:
    """The id of the key that an earlier try of a request has made."""
    for key_id in node.directory.keys:
        if any((lane.incarnation, lane.seq) == dot for lane in _lanes(node, key_id)):
            return key_id
    return None


_OWNER: Final = Access(role=OWNER)
_KEYS: Final = "/api/v1/keys"
ROUTES: Final = (
    Route(method="POST", path=_KEYS, handler=make, access=_OWNER, writes=True, system=True),
    Route(method="GET", path=_KEYS, handler=list_keys, access=_OWNER, query=PAGE_FIELDS, system=True),
    Route(method="DELETE", path=f"{_KEYS}/<key>", handler=revoke, access=_OWNER, writes=True, system=True),
)
