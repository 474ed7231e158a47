"""Projects, their environments, and what a flagd document of an environment has beside its flags."""

from __future__ import annotations

from typing import Any, Final

from vexil.crdt import schema
from vexil.crdt.flag_document import summary
from vexil.crdt.flagd_state import read_flagd
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import authoring
from vexil.node.api.auth import EDITOR, OWNER, VIEWER
from vexil.node.api.exchange import PROJECT, Access, Answer, Call, Route
from vexil.node.api.paging import PAGE_FIELDS, Cursor
from vexil.node.api.writing import change_of, write
from vexil.node.authoring import Intent
from vexil.node.authoring.settings import put_flagd_part, put_project
from vexil.node.errors import NotFound
from vexil.node.project import Project

_READ: Final = Access(role=VIEWER)
_WRITE: Final = Access(role=EDITOR)


async def list_projects(call: Call) -> Answer:
    """The projects that the key may see."""
    cursor = Cursor(call)
    names, more = cursor.cut(name for name in call.node.project_names() if call.caller.sees(name))
    return cursor.answer([_described(call, name) for name in names], more)


async def get_project(call: Call) -> Answer:
    """One project and its ETag."""
    name = call.arguments[PROJECT]
    if name == SYSTEM_PROJECT:
        raise NotFound(schema.PROJECT, name)
    return Answer(_described(call, name), headers={"ETag": _etag(call, name)})


async def put_one(call: Call) -> Answer:
    """Create or change; 201 for a create."""
    name, body, if_match = call.arguments[PROJECT], call.json(), call.if_match
    created = False

    def decide(system: Project) -> Intent:
        nonlocal created
        intent = put_project(system, name, body, if_match=if_match)
        created = bool(intent.created)
        return intent

    outcome = await write(call, decide, project=SYSTEM_PROJECT)
    call.enter(call.node.project(name))
    body = {**_described(call, name), "change": change_of(outcome)}
    return Answer(body, 201 if created else 200, {"ETag": _etag(call, name)})


async def get_flagd(call: Call) -> Answer:
    """Evaluators and set metadata of one environment."""
    environment = call.environment(call.arguments["environment"])
    headers = {"ETag": _flagd_etag(call.project, environment)}
    return Answer(_flagd(call.project, environment), headers=headers)


async def put_flagd(call: Call) -> Answer:
    """Replace both."""
    environment, body, if_match = call.arguments["environment"], call.json(), call.if_match

    def decide(project: Project) -> Intent:
        return put_flagd_part(project, environment, body, if_match=if_match)

    outcome = await write(call, decide, project=call.project.name)
    answer = {**_flagd(call.project, environment), "change": change_of(outcome)}
    return Answer(answer, headers={"ETag": _flagd_etag(call.project, environment)})


def _described(call: Call, name: str) -> dict[str, Any]:
    state = call.node.directory.projects[name]
    return {"name": name, "environments": list(state.environments), "bucketing": state.bucketing}


def _etag(call: Call, name: str) -> str:
    return authoring.etag_of(call.node.directory.system.replica.cells(schema.project_object(name)))


def _flagd(project: Project, environment: str) -> dict[str, Any]:
    state = read_flagd(environment, project.replica.cells(schema.flagd_object(environment)))
    return {
        "evaluators": dict(state.evaluators),
        "metadata": dict(state.metadata),
        "conflicts": [summary(record) for record in (*state.conflicts, *state.problems)],
    }


def _flagd_etag(project: Project, environment: str) -> str:
    return authoring.etag_of(project.replica.cells(schema.flagd_object(environment)))


_PROJECTS: Final = "/api/v1/projects"
_ONE: Final = f"{_PROJECTS}/<project>"
_FLAGD: Final = f"{_ONE}/environments/<environment>/flagd"
ROUTES: Final = (
    Route(method="GET", path=_PROJECTS, handler=list_projects, access=_READ, query=PAGE_FIELDS),
    Route(method="GET", path=_ONE, handler=get_project, access=_READ),
    Route(
        method="PUT",
        path=_ONE,
        handler=put_one,
        access=Access(role=OWNER),
        writes=True,
        creates_project=True,
    ),
    Route(method="GET", path=_FLAGD, handler=get_flagd, access=_READ),
    Route(method="PUT", path=_FLAGD, handler=put_flagd, access=_WRITE, writes=True),
)
