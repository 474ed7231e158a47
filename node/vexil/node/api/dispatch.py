"""The way that every request takes between the HTTP framework and its handler.

ready? → who calls, and may he? → does the project exist? → the body → wait for the token → the handler → headers.

What is cheap and needs no trust comes first; the body, which a stranger could make large, is only waited for once the
caller is known.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import suppress

import trio
from quart import Request, Response
from quart import request as current_request

from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node import errors
from vexil.node.api import cors, freshness, problems, query, tokens
from vexil.node.api.auth import OWNER
from vexil.node.api.connection import LiveResponse
from vexil.node.api.exchange import PROJECT, Access, Answer, Call, Route, Services
from vexil.node.api.limits import TOKEN_WAIT_MS_DEFAULT, TOKEN_WAIT_MS_MAX
from vexil.node.api.request_body import BoundedRequest

TOKEN = "Vexil-Token"  # noqa: S105 - the name of a header
BEHIND = "Vexil-Behind"
WAIT = "Vexil-Wait-Ms"
LAST_EVENT = "Last-Event-ID"


def view(route: Route, services: Services) -> Callable[..., Awaitable[Response]]:
    """The view function of ``route``: it always answers, and only with what the interface promises."""

    async def handle(**arguments: str) -> Response:
        request = present_request()
        assert isinstance(request, BoundedRequest), "the app makes its requests of this class"
        return response(await answered(route, services, request, arguments))

    return handle


async def answered(
    route: Route, services: Services, request: BoundedRequest, arguments: Mapping[str, str]
) -> Answer:
    """The answer of ``route`` to ``request``, whatever happens: a refusal if there is no better one."""
    started_s = trio.current_time()
    call: Call | None = None
    try:
        call = Call(
            services,
            request,
            route,
            arguments,
            query.parse(request.query_string, known=None if route.any_query else route.query),
        )
        answer = await _answer(call)
    except Exception as error:  # noqa: BLE001 - the boundary: whatever it was, the caller gets an answer
        answer = await refused(error, request, services, route=route.path, writes=route.writes)
    if call is not None:
        _say_as_of_when(call, answer)
    if route.path.startswith(cors.PREFIX):
        cors.allow(answer, call)
        problems.say_it_in_ofrep(answer, arguments.get("key"))
    services.metrics.observe_request(route.method, route.path, answer.status, trio.current_time() - started_s)
    return answer


def present_request() -> Request:
    """The request that is being handled by the calling task, itself and not the framework's stand-in for it."""
    # The one name for it that every supported version of the framework has.
    found: Request = current_request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return found


async def refused(
    error: Exception, request: Request, services: Services, *, route: str, writes: bool
) -> Answer:
    """The answer to a request that ended in ``error``; the rest of a body over its limit is read and thrown away."""
    if isinstance(request, BoundedRequest):
        await request.drain()
    return problems.answer_to(error, services, method=request.method, route=route, writes=writes)


def response(answer: Answer) -> Response:
    """The framework's form of ``answer``."""
    body: bytes | AsyncIterable[bytes] = b""
    if isinstance(answer.body, AsyncIterable):
        body = answer.body
    elif answer.status != 304:
        body = answer.encoded()
    if answer.live_piece_s is None:
        made = Response(body, answer.status)
    else:
        made = LiveResponse(body, answer.status, piece_s=answer.live_piece_s)
    if isinstance(answer.body, AsyncIterable):
        # However long it is, it may be read to its end: the connection bounds each piece.
        made.timeout = None
    made.headers["Content-Type"] = answer.content_type
    if answer.status == 304:
        # It has no body, so nothing about one is said; werkzeug's default would say something.
        del made.headers["Content-Type"]
        made.headers.pop("Content-Length", None)
    for name, value in answer.headers.items():
        made.headers[name] = value
    return made


async def _answer(call: Call) -> Answer:
    route, services = call.route, call.services
    if not services.node.ready and not route.while_loading:
        raise errors.NodeNotReady("the node is loading its state")
    name = None
    if route.access.role or route.access.kinds:
        name = _authorise(call, route.access)
    wanted = None if name is None else _token(call, name)
    if wanted is None:
        # A token may name a project of which this node has not heard yet: with one, it is asked after the wait.
        _find(call, name)
    if not route.bulky:
        return await _handled(call, wanted)
    try:
        services.imports.acquire_nowait()
    except trio.WouldBlock:
        raise errors.RateLimited("another import is under way here") from None
    try:
        return await _handled(call, wanted)
    finally:
        services.imports.release()


async def _handled(call: Call, wanted: tokens.Seen | None) -> Answer:
    wait_ms = _wait_ms(call)
    call.body = await call.request.read()
    if wanted is not None:
        await catch_up(call, wanted, wait_ms)
    return await call.route.handler(call)


def _authorise(call: Call, access: Access) -> str | None:
    """Find the caller; the name of the project that he asks about. Raises KeyInvalid or KeyForbidden."""
    caller = call.services.authenticator.caller(call.header("Authorization"), call.header("X-API-Key"))
    call.identify(caller)
    name = call.arguments.get(PROJECT)
    if access.kinds:
        if caller.kind not in access.kinds:
            raise errors.KeyForbidden(f"this needs a key of the kind {' or '.join(sorted(access.kinds))}")
        name = caller.project
    else:
        role = OWNER if name == SYSTEM_PROJECT else access.role
        scope = name if name is not None and not access.everywhere else caller.project
        if access.everywhere and caller.project is not None:
            raise errors.KeyForbidden("this needs a key for all projects")
        if not caller.may(role, scope):
            raise errors.KeyForbidden(
                f"this needs the role {role}" + (f" in project {name!r}" if name else "")
            )
        if name == SYSTEM_PROJECT and call.route.writes and not call.route.any_project:
            raise errors.KeyForbidden("this project is written through projects, keys and members only")
    if call.route.system:
        name = SYSTEM_PROJECT
    return name


def _find(call: Call, name: str | None) -> None:
    """Enter the project ``name``. Raises NotFound."""
    if name is not None:
        project = call.node.project(name)
        if project is None and not call.route.creates_project:
            raise errors.NotFound("project", name)
        call.enter(project)


def _token(call: Call, name: str) -> tokens.Seen | None:
    """What the request's token has of the project ``name``; None if it has none. Raises TokenInvalid."""
    text = call.header(TOKEN)
    wanted = None if text is None else tokens.decode_all(text, name)
    last = call.header(LAST_EVENT) if call.route.resumes else None
    if last:
        # Whoever sends it does so by himself, and would for ever: what is no token is no reason to refuse him.
        with suppress(errors.TokenInvalid):
            call.resumes = tokens.decode_all(last, name)
    if call.resumes is None:
        return wanted
    return call.resumes if wanted is None else tokens.join(wanted, call.resumes)


def _wait_ms(call: Call) -> int:
    """How long the request may be made to wait for its token. Raises Malformed."""
    text = call.header(WAIT)
    if text is None:
        return TOKEN_WAIT_MS_DEFAULT
    asked = query.whole_number(text)
    if asked is None or asked > TOKEN_WAIT_MS_MAX:
        raise errors.Malformed(f"{WAIT} must be a whole number from 0 to {TOKEN_WAIT_MS_MAX}")
    return asked


async def catch_up(call: Call, wanted: tokens.Seen, wait_ms: int) -> None:
    """Wait until the state includes what the token has, the making of its project first.

    Raises TokenBehind for a write that it does not include, NotFound if the project is not there.
    """
    waits = call.services.token_waits
    try:
        waits.acquire_nowait()
    except trio.WouldBlock:
        call.behind = not await _reached(call, wanted, 0)
    else:
        try:
            call.behind = not await _reached(call, wanted, wait_ms)
        finally:
            waits.release()
    call.wanted = wanted
    if call.behind and call.route.writes:
        raise errors.TokenBehind
    if not call.has_project:
        _find(call, wanted.project)


async def _reached(call: Call, wanted: tokens.Seen, wait_ms: int) -> bool:
    """Whether all of it came in ``wait_ms``. Enters the project if it is there by then."""
    begun_s = trio.current_time()
    known = await call.node.wait_for(SYSTEM_PROJECT, wanted.system, wait_ms)
    project = call.node.project(wanted.project)
    call.enter(project)
    if project is None:
        return known and not wanted.vv
    left_ms = max(0.0, wait_ms - (trio.current_time() - begun_s) * 1000)
    return await call.node.wait_for(wanted.project, wanted.vv, left_ms) and known


def _say_as_of_when(call: Call, answer: Answer) -> None:
    services = call.services
    if call.behind:
        answer.headers[BEHIND] = "true"
    if not call.has_project:
        return
    behind = call.wanted if call.behind else None
    if TOKEN not in answer.headers or behind is not None:
        answer.headers[TOKEN] = services.mint.token_of(
            call.project, services.node.directory, wrote=call.wrote, seen=behind
        )
    answer.headers.update(
        freshness.headers(
            services.node.as_of_ms(),
            wall_ms=services.clock.wall_ms(),
            stale_after_ms=services.limits.stale_after_ms,
        )
    )
