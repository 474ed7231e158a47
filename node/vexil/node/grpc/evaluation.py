"""``flagd.evaluation.v2.Service`` and ``v1``: flags evaluated by this node, one for a call or all of them.

A value is what the flag gives or it is absent, and then the caller's own default applies. v1 cannot say "absent", so
there it is NOT_FOUND, for which its clients take the default too. A number is converted only if nothing is lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from vexil.node.api.turns import key_by_key
from vexil.node.grpc.call import Call, Method, Methods
from vexil.node.grpc.proto import evaluation_pb2 as pb
from vexil.node.grpc.selectors import HEADER, check_selector
from vexil.node.grpc.statuses import CallFailed, Code
from vexil.node.grpc.structs import WHOLE_MAX, to_plain, to_struct
from vexil.sdk.codes import (
    FLAG_NOT_FOUND,
    INVALID_CONTEXT,
    PARSE_ERROR,
    TARGETING_KEY_MISSING,
    TYPE_MISMATCH,
)
from vexil.sdk.errors import InvalidContext
from vexil.sdk.evaluation import ABSENT, Evaluation, evaluate
from vexil.sdk.ofrep import check_context

_CODES: Final = {
    FLAG_NOT_FOUND: Code.NOT_FOUND,
    TYPE_MISMATCH: Code.INVALID_ARGUMENT,
    INVALID_CONTEXT: Code.INVALID_ARGUMENT,
    TARGETING_KEY_MISSING: Code.INVALID_ARGUMENT,
    PARSE_ERROR: Code.DATA_LOSS,
}
_INT64: Final = range(-(2**63), 2**63)


class _Mismatch(Exception):
    """The value is not of the type that was asked for."""


@dataclass(frozen=True, slots=True)
class _Type:
    """One of the five calls."""

    name: str
    request: type[Message]
    response: Callable[..., Any]
    convert: Callable[[Any], Any]
    """Raises _Mismatch."""


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise _Mismatch
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise _Mismatch
    return value


def _float(value: Any) -> float:
    if type(value) is int and abs(value) <= WHOLE_MAX:
        return float(value)
    if type(value) is not float:
        raise _Mismatch
    return value


def _integer(value: Any) -> int:
    if type(value) is int and value in _INT64:
        return value
    if type(value) is float and value.is_integer() and abs(value) <= WHOLE_MAX:
        return int(value)
    raise _Mismatch


def _object(value: Any) -> Struct:
    if type(value) is not dict:
        raise _Mismatch
    return to_struct(value)


_TYPES: Final = (
    _Type("Boolean", pb.ResolveBooleanRequest, pb.ResolveBooleanResponse, _boolean),
    _Type("String", pb.ResolveStringRequest, pb.ResolveStringResponse, _string),
    _Type("Float", pb.ResolveFloatRequest, pb.ResolveFloatResponse, _float),
    _Type("Int", pb.ResolveIntRequest, pb.ResolveIntResponse, _integer),
    _Type("Object", pb.ResolveObjectRequest, pb.ResolveObjectResponse, _object),
)


def resolving(kind: _Type, *, absent: bool) -> Callable[[Call, Any], Awaitable[None]]:
    """The handler of one of the five calls; ``absent`` False where a missing value cannot be said."""

    async def resolve(call: Call, request: Any) -> None:
        flag_set = call.place.flag_set
        check_selector(call.metadata.get(HEADER), "", flag_set.metadata)
        context = _context(request)
        now_s = call.services.clock.wall_ms() / 1000
        found = evaluate(flag_set, request.flag_key, context, now_s=now_s)
        call.services.metrics.count_evaluations("single", 1)
        await call.send(_response(kind, found, absent=absent))

    return resolve


def _response(kind: _Type, found: Evaluation, *, absent: bool) -> Message:
    if found.error_code is not None:
        # The same question would have the same answer: some clients would ask thrice.
        code = _CODES.get(found.error_code, Code.UNKNOWN)
        raise CallFailed(code, found.error_details or found.error_code, again=False)
    if found.value is ABSENT and not absent:
        raise CallFailed(Code.NOT_FOUND, f"flag {found.key!r} has no value here: its default applies")
    members: dict[str, Any] = {}
    try:
        if found.value is not ABSENT:
            members["value"] = kind.convert(found.value)
        if found.variant:
            members["variant"] = found.variant
        made: Message = kind.response(reason=found.reason, metadata=_metadata(found.metadata), **members)
    except _Mismatch:
        raise CallFailed(
            Code.INVALID_ARGUMENT, f"the value of flag {found.key!r} is no {kind.name.lower()}"
        ) from None
    except (ValueError, TypeError, OverflowError):
        # Half a surrogate pair, a number of too many digits: JSON that protobuf cannot hold.
        raise CallFailed(
            Code.UNKNOWN, f"the value of flag {found.key!r} cannot be sent", again=False
        ) from None
    return made


async def resolve_all(call: Call, request: Any) -> None:
    """Every flag that has a value, for one context; all as of one moment."""
    flag_set = call.place.flag_set
    check_selector(call.metadata.get(HEADER), "", flag_set.metadata)
    context = _context(request)
    now_s = call.services.clock.wall_ms() / 1000
    count = 0
    with flag_set.cut() as cut:
        response = pb.ResolveAllResponse(metadata=_metadata(cut.metadata))
        async for key in key_by_key(sorted(cut.flags)):
            flag = _any_flag(evaluate(cut, key, context, now_s=now_s))
            count += 1
            if flag is not None:
                response.flags[key].CopyFrom(flag)
    call.services.metrics.count_evaluations("bulk", count)
    await call.send(response)


def _any_flag(found: Evaluation) -> pb.AnyFlag | None:
    """A flag among all; None for one without a value, or with one that protobuf cannot hold."""
    value = found.value
    if found.error_code is not None or value is ABSENT:
        return None
    try:
        flag = pb.AnyFlag(reason=found.reason, variant=found.variant, metadata=_metadata(found.metadata))
        if isinstance(value, bool):
            flag.bool_value = value
        elif isinstance(value, str):
            flag.string_value = value
        elif isinstance(value, int | float):
            flag.double_value = value
        else:
            flag.object_value.CopyFrom(to_struct(value))
    except (ValueError, TypeError, OverflowError):
        return None
    return flag


def _context(request: Any) -> dict[str, Any]:
    context = to_plain(request.context)
    try:
        check_context(context)
    except InvalidContext as error:
        raise CallFailed(Code.INVALID_ARGUMENT, str(error)) from None
    return context


def _metadata(metadata: Mapping[str, Any]) -> Struct:
    """Metadata as far as protobuf can hold it: it must not cost a caller the value."""
    try:
        return to_struct(metadata)
    except (ValueError, TypeError, OverflowError):
        made = Struct()
        for name, value in metadata.items():
            with suppress(ValueError, TypeError, OverflowError):
                made.MergeFrom(to_struct({name: value}))
        return made


METHODS: Final[Methods] = {
    **{
        f"/flagd.evaluation.{version}.Service/Resolve{kind.name}": Method(
            request=kind.request, handler=resolving(kind, absent=version == "v2")
        )
        for version in ("v1", "v2")
        for kind in _TYPES
    },
    "/flagd.evaluation.v1.Service/ResolveAll": Method(request=pb.ResolveAllRequest, handler=resolve_all),
}
