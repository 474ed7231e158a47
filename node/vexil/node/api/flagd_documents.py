"""``GET /flagd/v1/flags.json``: an environment for whatever flagd, or one of its providers, polls."""

from __future__ import annotations

from typing import Final

from vexil.node.api.access_keys import SERVER
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.errors import NotFound
from vexil.sdk import ofrep


async def flags_json(call: Call) -> Answer:
    """``GET /flagd/v1/flags.json``; flags that cannot be said are left out and counted in status."""
    environment = call.caller.environment
    if environment is None or environment not in call.project.environments:
        raise NotFound("environment", environment or "")
    made = await call.services.documents.of(call.project, environment)
    headers = {"ETag": made.etag, "Cache-Control": "no-cache"}
    if ofrep.matches(call.header("If-None-Match"), made.etag):
        return Answer(b"", 304, headers)
    return Answer(made.body, headers=headers)


ROUTES: Final = (
    Route(
        method="GET",
        path="/flagd/v1/flags.json",
        handler=flags_json,
        access=Access(kinds=frozenset((SERVER,))),
        any_query=True,
    ),
)
