"""``GET /sdk/v1/flags``: an environment as a whole, for SDKs that evaluate themselves, and for those that poll."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from vexil.node.api.access_keys import SERVER
from vexil.node.api.dispatch import TOKEN
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.api.flag_set_documents import FlagSetDocument
from vexil.node.errors import NotFound
from vexil.sdk import ofrep

READERS: Final = Access(kinds=frozenset((SERVER,)))


async def flags(call: Call) -> Answer:
    """The document with its version as ``ETag``; 304 if the caller has that version.

    ``Vexil-Token`` is of the document, not of a state that has come while it was made.
    """
    environment = environment_of(call)
    headers = {"Cache-Control": "no-cache"}
    version = call.project.flag_set(environment).version
    if ofrep.matches(call.header("If-None-Match"), f'"{version}"'):
        return Answer(b"", 304, {"ETag": f'"{version}"', **headers})
    made = await document_of(call, environment)
    headers |= {"ETag": f'"{made.version}"', TOKEN: made.token, "Content-Length": str(made.size)}
    if call.request.method == "HEAD" or len(made.pieces) == 1:
        return Answer(b"".join(made.pieces), headers=headers)
    return Answer(_pieces(made), headers=headers)


def environment_of(call: Call) -> str:
    """The environment of the caller's key. Raises NotFound."""
    environment = call.caller.environment
    if environment is None or environment not in call.project.environments:
        raise NotFound("environment", environment or "")
    return environment


async def document_of(call: Call, environment: str) -> FlagSetDocument:
    """The document of what is served now."""
    services = call.services
    return await services.flag_sets.of(
        call.project, environment, lambda: services.mint.token_of(call.project, call.node.directory)
    )


async def _pieces(made: FlagSetDocument) -> AsyncIterator[bytes]:
    for piece in made.pieces:
        yield piece


ROUTES: Final = (Route(method="GET", path="/sdk/v1/flags", handler=flags, access=READERS),)
