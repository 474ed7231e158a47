"""What whoever runs a node asks it: is it alive, is it ready, how is it, its numbers; and in dev mode, its links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from vexil.node.api.auth import OWNER, VIEWER
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.authoring.json_data import Mistakes, look_through
from vexil.node.errors import LimitExceeded, NodeNotReady, NotFound

LINK: Final = "link"
CUT: Final = "cut"
OK: Final = "ok"
_MEMBERS: Final = frozenset(("a", "b", "state"))
_NO_STORE: Final = {"Cache-Control": "no-store"}


async def alive(_call: Call) -> Answer:
    """``/healthz``: the process answers. Says nothing about its peers or its store, so it never drains a node."""
    return Answer({"status": "ok"}, headers=dict(_NO_STORE))


async def ready(call: Call) -> Answer:
    """``/readyz``: the state is loaded and one try to catch up was made. Being behind or cut off is no reason."""
    if not call.node.ready:
        raise NodeNotReady("the node is loading its state")
    return Answer({"status": "ok"}, headers=dict(_NO_STORE))


async def metrics(call: Call) -> Answer:
    """``/metrics`` for Prometheus."""
    body, content_type = call.services.metrics.render()
    return Answer(body, content_type=content_type)


async def status(call: Call) -> Answer:
    """``GET /api/v1/status``; of the projects, those that the key may see."""
    found = call.node.status()
    projects = found.get("projects", {})
    seen = {name: state for name, state in projects.items() if call.caller.sees(name)}
    return Answer({**found, "projects": seen}, headers=dict(_NO_STORE))


async def set_link(call: Call) -> Answer:
    """``POST /api/v1/dev/links``: cut or mend this node's own peer traffic between two places."""
    links = call.services.links
    if links is None:
        raise NotFound("path", "/api/v1/dev/links")
    body = call.json()
    look_through(LINK, body)
    mistakes = Mistakes(LINK)
    members = mistakes.mapping("", body)
    mistakes.only("", members, _MEMBERS)
    places = _places([call.node.status(), *call.node.members()])
    names = [mistakes.text(f"/{end}", members.get(end)) for end in ("a", "b")]
    for end, name in zip(("a", "b"), names, strict=True):
        if name and name not in places:
            mistakes.add(f"/{end}", "is not a region or node of this cluster")
    state = members.get("state")
    if state not in (CUT, OK):
        mistakes.add("/state", f"must be {CUT} or {OK}")
    mistakes.refuse()
    try:
        links.set(names[0], names[1], cut=state == CUT)
    except ValueError as error:
        raise LimitExceeded("links_cut", str(error)) from None
    return Answer({"a": names[0], "b": names[1], "state": state})


def _places(named: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of nodes and regions, those of evicted members too: their links may be cut still."""
    return {str(item[part]) for item in named for part in ("node", "region")}


_OPEN: Final = Access()
_VIEWER: Final = Access(role=VIEWER)
ROUTES: Final = (
    Route(method="GET", path="/healthz", handler=alive, access=_OPEN, while_loading=True, any_query=True),
    Route(method="GET", path="/readyz", handler=ready, access=_OPEN, while_loading=True, any_query=True),
    Route(method="GET", path="/metrics", handler=metrics, access=_VIEWER, while_loading=True, any_query=True),
    Route(method="GET", path="/api/v1/status", handler=status, access=_VIEWER, while_loading=True),
    Route(
        method="POST",
        path="/api/v1/dev/links",
        handler=set_link,
        access=Access(role=OWNER, everywhere=True),
        while_loading=True,
    ),
)
