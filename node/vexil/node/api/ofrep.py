"""OFREP 0.3.0: flags evaluated for callers that have no SDK of ours. Bodies are made by `vexil.sdk.ofrep`.

The key says which environment. A client key, which anybody can read out of a page, sees only flags with
``client_visible``; the others are not there for it. Nor is it told what is wrong with a flag's rules, for that names
parts of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from vexil.node.api import cors, json_body, ofrep_stream, selectors, tokens
from vexil.node.api.access_keys import CLIENT, SERVER
from vexil.node.api.dispatch import TOKEN, catch_up
from vexil.node.api.exchange import JSON, Access, Answer, Call, Route
from vexil.node.api.turns import key_by_key
from vexil.node.errors import Malformed, NotFound, TokenInvalid
from vexil.sdk import ofrep
from vexil.sdk.codes import ERROR, FLAG_NOT_FOUND
from vexil.sdk.errors import InvalidContext
from vexil.sdk.evaluation import ABSENT, Evaluation, evaluate
from vexil.sdk.model import FlagSet

_READERS: Final = Access(kinds=frozenset((SERVER, CLIENT)))
_OPEN: Final = Access()


async def evaluate_one(call: Call) -> Answer:
    """One flag for one context."""
    key = call.arguments["key"]
    flag_set = _flag_set(call)
    try:
        context = ofrep.read_context(call.body)
    except InvalidContext as error:
        return _answer(ofrep.invalid_context(str(error), key=key))
    if not _visible(call, flag_set, key):
        found = Evaluation(key, ABSENT, "", ERROR, FLAG_NOT_FOUND, f"there is no flag {key!r}")
    else:
        found = _evaluated(call, flag_set, key, context, call.services.clock.wall_ms() / 1000)
    call.services.metrics.count_evaluations("single", 1)
    return _answer(ofrep.single(found))


async def evaluate_all(call: Call) -> Answer:
    """Every flag that the key may see, for one context; 304 if the answer is the one that the caller has.

    All of them as of one moment, however many turns of the event loop the answer takes.
    """
    try:
        context = ofrep.read_context(call.body)
    except InvalidContext as error:
        return _answer(ofrep.invalid_context(str(error)))
    announced = call.query.text("flagConfigEtag")
    if announced is not None:
        await _until_here(call, announced)
    flag_set = _flag_set(call)
    token = call.services.mint.token_of(call.project, call.node.directory)
    now_s = call.services.clock.wall_ms() / 1000
    with flag_set.cut() as cut:
        items = [
            ofrep.item(_evaluated(call, cut, key, context, now_s))
            async for key in key_by_key(sorted(cut.flags))
            if _visible(call, cut, key)
        ]
    call.services.metrics.count_evaluations("bulk", len(items))
    body = ofrep.bulk_of(items, metadata=cut.metadata).body
    # Not of the streams: their ticket changes while the answer stays the same.
    tag = ofrep.entity_tag(body)
    headers = {"ETag": tag, "Cache-Control": "no-cache", TOKEN: token}
    # A caller who was told of another configuration than this one must not be left with what he had before.
    if announced in (None, token) and ofrep.matches(call.header("If-None-Match"), tag):
        return Answer(b"", 304, headers)
    streams = json_body.encode(ofrep_stream.event_streams(call, context))
    return Answer(b'{"eventStreams":' + streams + b"," + body[1:], headers=headers)


async def _until_here(call: Call, announced: str) -> None:
    """Wait a moment for the configuration that a change event has named, if this node does not have it yet."""
    try:
        seen = tokens.decode_all(announced, call.project.name)
    except TokenInvalid:
        return
    if call.wanted is not None:
        seen = tokens.join(call.wanted, seen)
    await catch_up(call, seen, call.services.limits.config_wait_ms)


def _flag_set(call: Call) -> FlagSet:
    environment = call.caller.environment
    if environment is None or environment not in call.project.environments:
        raise NotFound("environment", environment or "")
    flag_set = call.project.flag_set(environment)
    why_not = selectors.why_not(call.header(selectors.HEADER), flag_set.metadata)
    if why_not is not None:
        raise Malformed(why_not)
    return flag_set


def _visible(call: Call, flag_set: FlagSet, key: str) -> bool:
    if call.caller.kind != CLIENT:
        return True
    document: Mapping[str, Any] | None = flag_set.flags.get(key)
    return document is not None and document.get("client_visible") is True


def _evaluated(
    call: Call, flag_set: FlagSet, key: str, context: Mapping[str, Any], now_s: float
) -> Evaluation:
    """The answer of a flag that the caller may see, as he may see it."""
    found = evaluate(flag_set, key, context, now_s=now_s)
    if call.caller.kind == CLIENT and found.error_code not in {None, FLAG_NOT_FOUND}:
        return replace(found, error_details=None)
    return found


def _answer(made: ofrep.Response) -> Answer:
    return Answer(made.body, made.status, content_type=JSON)


_EVALUATE: Final = "/ofrep/v1/evaluate/flags"
# Stock clients do not escape the key: whatever is behind the last slash of the route belongs to it.
_ONE: Final = f"{_EVALUATE}/<path:key>"
ROUTES: Final = (
    Route(method="POST", path=_ONE, handler=evaluate_one, access=_READERS, any_query=True),
    Route(method="POST", path=_EVALUATE, handler=evaluate_all, access=_READERS, any_query=True),
    Route(
        method="OPTIONS", path=_ONE, handler=cors.preflight, access=_OPEN, any_query=True, while_loading=True
    ),
    Route(
        method="OPTIONS",
        path=_EVALUATE,
        handler=cors.preflight,
        access=_OPEN,
        any_query=True,
        while_loading=True,
    ),
)
