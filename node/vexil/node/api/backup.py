"""Backups over HTTP: a project as a file, streamed, and a project from a file.

Both are for owners: a file has everything of its project in it, that of ``_system`` the hashes of all keys.
"""

from __future__ import annotations

from typing import Final

from vexil.node.api.auth import OWNER
from vexil.node.api.exchange import PROJECT, Access, Answer, Call, Route

CONTENT_TYPE: Final = "application/octet-stream"
SUFFIX: Final = ".vexil-backup"


async def download(call: Call) -> Answer:
    """The file of the project as it is now. One that breaks off lacks its end, which every reader looks for."""
    name = call.project.name
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{name}{SUFFIX}"',
    }
    return Answer(await call.node.backups.begin(call.project), headers=headers, content_type=CONTENT_TYPE)


async def restore(call: Call) -> Answer:
    """Restore the file in the body as the project; 201, or 200 for a dry run."""
    name, data = call.arguments[PROJECT], call.body
    call.body = b""  # it is large, and not needed twice
    dry_run = call.query.boolean("dry_run") or False
    told = await call.node.restoring.restore(name, data, author=call.caller.author, dry_run=dry_run)
    call.enter(call.node.project(name))
    return Answer(told, 200 if dry_run else 201)


_OWNER: Final = Access(role=OWNER)
_PROJECT: Final = "/api/v1/projects/<project>"
ROUTES: Final = (
    Route(method="GET", path=f"{_PROJECT}/backup", handler=download, access=_OWNER),
    Route(
        method="POST",
        path=f"{_PROJECT}/restore",
        handler=restore,
        access=_OWNER,
        writes=True,
        any_project=True,
        bulky=True,
        creates_project=True,
        query=frozenset(("dry_run",)),
    ),
)
