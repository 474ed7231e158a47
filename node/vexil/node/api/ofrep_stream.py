"""``GET /ofrep/v1/sse?ticket=…``: OFREP's change events. They say "fetch again", and never what has changed.

The configuration's entity tag in an event is a `Vexil-Token`: the node that is then asked knows from it whether it is
behind. Holders of a client key are told of what can change an answer to them, and of nothing else.

A message is the first thing that a stream sends, whether there is news or not: stock clients take a stream that was
interrupted for mended only when a message comes. And a ticket that has expired still brings one, which makes its holder
fetch anew and get another ticket; else a 304, which has no ticket in it, would leave him with his old one for ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from vexil.node import errors
from vexil.node.api import cors, event_stream, tokens
from vexil.node.api.access_keys import CLIENT
from vexil.node.api.dispatch import LAST_EVENT
from vexil.node.api.exchange import Access, Answer, Call, Route
from vexil.node.api.tickets import RENEWAL_S, Ticket
from vexil.node.feeds import ENVIRONMENT_GONE, KEY_REVOKED, Changes

KIND: Final = "ofrep"
PATH: Final = "/ofrep/v1/sse"
INACTIVITY_DELAY_S: Final = 120
"""A page that is not looked at closes its stream after this, and fetches when it is looked at again."""
RENEWAL_RETRIES: Final = 10
"""So many times as long as others waits who comes back with an expired ticket all the same: his fetches bring him no
other one, since he leaves the tag of the event out of them."""
EXPIRED: Final = "expired"
"""In the place of a configuration's tag: it is the tag of none, so the answer to it is never a 304."""


def event_streams(call: Call, context: Mapping[str, Any]) -> list[dict[str, object]]:
    """What a bulk answer says about where its caller learns of changes."""
    member = call.node.directory.members.get(call.node.name)
    # A client puts its own origin before it and forgets the path of its base URL.
    base = "" if member is None else urlsplit(member.http_url).path.rstrip("/")
    ticket = call.services.tickets.issue(
        call.caller, wall_ms=call.services.clock.wall_ms(), who=str(context.get("targetingKey", ""))
    )
    endpoint = {"requestUri": f"{base}{PATH}?ticket={ticket}"}
    # Sorted, as everything in a body of OFREP is.
    return [{"endpoint": endpoint, "inactivityDelaySec": INACTIVITY_DELAY_S, "type": "sse"}]


async def stream(call: Call) -> Answer:
    """Events of type ``refetchEvaluation`` for the environment of the ticket."""
    ticket = call.services.tickets.read(call.query.text("ticket") or "")
    caller = call.services.authenticator.known(ticket.key_id)
    if caller is None or (caller.project, caller.environment) != (ticket.project, ticket.environment):
        raise errors.KeyInvalid
    call.identify(caller)
    project = call.node.project(ticket.project)
    if project is None or ticket.environment not in project.environments:
        raise errors.NotFound("environment", ticket.environment)
    call.enter(project)
    overdue_s = call.services.clock.wall_ms() / 1000 - ticket.expires_s
    if overdue_s >= RENEWAL_S:
        raise errors.TicketInvalid
    if overdue_s >= 0:
        pieces = _renewal(call)
    else:
        call.node.feeds.admit()
        pieces = _events(call, ticket)
    return call.stream(pieces)


async def _renewal(call: Call) -> AsyncIterator[bytes]:
    """What an expired ticket brings: the same to everybody, whatever has happened."""
    yield event_stream.retry(call.services.rng, call.services.limits, times=RENEWAL_RETRIES)
    yield event_stream.event("message", {"type": "refetchEvaluation", "etag": EXPIRED})


async def _events(call: Call, ticket: Ticket) -> AsyncIterator[bytes]:
    services, limits, rng = call.services, call.services.limits, call.services.rng

    def why_not() -> str | None:
        if not services.authenticator.holds(call.caller):
            return KEY_REVOKED
        return None if ticket.environment in call.project.environments else ENVIRONMENT_GONE

    why = ""
    try:
        async with call.node.feeds.follow(
            ticket.project,
            ticket.environment,
            kind=KIND,
            why_not=why_not,
            clients=call.caller.kind == CLIENT,
        ) as changes:
            yield event_stream.retry(rng, limits)
            missed = _has_missed(call, ticket, changes)
            changes.seen = changes.feed.position.number
            yield _refetch(call, changes) if missed else event_stream.event("message", {"type": "open"})
            # They are not all to beat at once that have come at once.
            beat_s = limits.stream_heartbeat_s * rng.uniform(0.5, 1)
            while changes.ended is None:
                if not await changes.look(beat_s):
                    yield event_stream.HEARTBEAT
                elif changes.ended is None:
                    changes.seen = changes.feed.position.number
                    yield _refetch(call, changes)
                beat_s = limits.stream_heartbeat_s
            why = changes.ended
    except errors.ApiError as error:
        why = error.code
    services.metrics.count_stream_end(KIND, why)
    yield event_stream.end(why, rng, limits)


def _has_missed(call: Call, ticket: Ticket, changes: Changes) -> bool:
    """Whether there may have been a change since the last event, or since the answer that the ticket came with."""
    last = call.header(LAST_EVENT)
    if last is not None:
        with suppress(errors.TokenInvalid):
            seen = tokens.decode_all(last, ticket.project)
            present = tokens.decode_all(_token(call), ticket.project)
            # Settings, which are in `_system`, make other answers of the same flags.
            position = changes.feed.at(seen.vv) if seen.system == present.system else None
            if position is not None:
                return changes.told > position.number
        return True
    return _changed_s(call, changes) >= ticket.begun_s


def _changed_s(call: Call, changes: Changes) -> float:
    """When there was a change last, in Unix seconds."""
    return call.services.clock.wall_ms() / 1000 - (trio.current_time() - changes.told_s)


def _refetch(call: Call, changes: Changes) -> bytes:
    services = call.services
    services.metrics.count_stream_event(KIND, "refetch")
    token = _token(call)
    data = {
        "type": "refetchEvaluation",
        "etag": token,
        "lastModified": int(_changed_s(call, changes)),
    }
    return event_stream.event("message", data, id_=token)


def _token(call: Call) -> str:
    return call.services.mint.token_of(call.project, call.node.directory)


ROUTES: Final = (
    Route(method="GET", path=PATH, handler=stream, access=Access(), any_query=True),
    Route(
        method="OPTIONS",
        path=PATH,
        handler=cors.preflight,
        access=Access(),
        any_query=True,
        while_loading=True,
    ),
)
