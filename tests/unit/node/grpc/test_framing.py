"""Messages in a stream of bytes, and what a call says when it fails."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from vexil.node import errors
from vexil.node.grpc.framing import PIECE_BYTES, framed, only_message, pieces
from vexil.node.grpc.statuses import MESSAGE_CHARACTERS_MAX, CallFailed, Code, of_refusal, trailers

LIMIT = 10


def refused(body: bytes) -> Code:
    with pytest.raises(CallFailed) as failed:
        only_message(body, message_bytes_max=LIMIT)
    return failed.value.code


@pytest.mark.parametrize("message", [b"", b"x", b"x" * LIMIT])
def test_a_message_comes_out_as_it_went_in(message: bytes) -> None:
    assert only_message(framed(message), message_bytes_max=LIMIT) == message
    assert b"".join(pieces(framed(message))) == framed(message)


def test_a_long_message_goes_out_in_pieces() -> None:
    frame = framed(b"x" * 3 * PIECE_BYTES)
    assert [len(piece) for piece in pieces(frame)] == [PIECE_BYTES] * 3 + [5]
    assert b"".join(pieces(frame)) == frame


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", Code.INVALID_ARGUMENT),
        (b"\0\0\0\0", Code.INVALID_ARGUMENT),
        (b"\0\0\0\0\2x", Code.INVALID_ARGUMENT),
        (b"\0\0\0\0\1xy", Code.INVALID_ARGUMENT),
        (b"\0\0\0\0\1x\0\0\0\0\1x", Code.INVALID_ARGUMENT),
        (b"\2\0\0\0\1x", Code.INVALID_ARGUMENT),
        (b"\1\0\0\0\1x", Code.UNIMPLEMENTED),
        (b"\0\0\0\0\x0b" + b"x" * 11, Code.RESOURCE_EXHAUSTED),
        (b"\0\xff\xff\xff\xff", Code.RESOURCE_EXHAUSTED),
    ],
)
def test_what_is_no_one_whole_message_is_refused(body: bytes, code: Code) -> None:
    assert refused(body) == code


@pytest.mark.parametrize(
    "text", ["", "plain text, and more: 1/2", "50% of ünïcode\n\0", "\ud800", "x" * 10_000]
)
def test_a_message_travels_as_a_header(text: str) -> None:
    sent = dict(trailers(Code.UNKNOWN, text))
    assert sent[b"grpc-status"] == b"2"
    value = sent.get(b"grpc-message", b"").decode("ascii")
    assert value.isprintable()
    assert unquote(value) == text.encode(errors="replace").decode()[:MESSAGE_CHARACTERS_MAX]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Malformed("x"), Code.INVALID_ARGUMENT),
        (errors.KeyInvalid(), Code.UNAUTHENTICATED),
        (errors.KeyForbidden("x"), Code.PERMISSION_DENIED),
        (errors.NotFound("flag", "x"), Code.NOT_FOUND),
        (errors.RateLimited("x"), Code.RESOURCE_EXHAUSTED),
        (errors.NodeNotReady("x"), Code.UNAVAILABLE),
        (errors.StreamsFull("x"), Code.UNAVAILABLE),
        (errors.TokenBehind(), Code.UNKNOWN),
    ],
)
def test_a_refusal_of_the_http_interface_has_the_nearest_code(error: errors.ApiError, code: Code) -> None:
    failed = of_refusal(error)
    assert (failed.code, failed.message) == (code, error.detail)
