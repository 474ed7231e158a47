"""Reading server-sent events: however they are cut, ended and spoilt."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexil.sdk.client.event_stream import HEARTBEAT, Event, EventReader
from vexil.sdk.client.seams import AnswerTooLarge

STREAM = (
    b"\xef\xbb\xbfretry: 1500\n\n: hello\n\nevent: put\nid: t1\ndata: {\ndata:  1}\n\n"
    b"data\n\nid: t\0bad\nevent: patch\r\ndata: x\r\rid: t3\ndata: \xff\n\nevent: lost\n\ndata: unfinished\n"
)
EVENTS = [
    HEARTBEAT,
    Event("put", b"{\n 1}", "t1"),
    Event("message", b"", None),
    Event("patch", b"x", None),
    Event("message", b"\xff", "t3"),
]


def read(*chunks: bytes, event_bytes_max: int = 1000) -> list[Event]:
    reader = EventReader(event_bytes_max=event_bytes_max)
    return [event for chunk in chunks for event in reader.feed(chunk)]


def test_events_are_read() -> None:
    assert read(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    assert read(*(STREAM[i:j] for i, j in pairwise(places))) == EVENTS


@given(st.binary(max_size=300), st.integers(1, 20))
def test_any_bytes_are_read(data: bytes, size: int) -> None:
    whole = read(data)
    assert read(*(data[i : i + size] for i in range(0, len(data), size))) == whole


@pytest.mark.parametrize(
    "piece", [b"x" * 60, b"data: 0123456789\n" * 4, b"id: 1\n" * 20, b"data: 1\n:\n" * 12]
)
def test_an_event_over_the_bound_ends_the_stream(piece: bytes) -> None:
    with pytest.raises(AnswerTooLarge):
        read(piece, event_bytes_max=50)


def test_a_stream_may_be_as_long_as_it_likes() -> None:
    assert len(read(*[b": heartbeat\n\ndata: 0123456789\n\n"] * 1000, event_bytes_max=50)) == 2000


def test_the_time_to_come_back_is_known() -> None:
    reader = EventReader(event_bytes_max=1000)
    list(reader.feed(b"retry: 20\n\nretry: soon\n\nretry: 99999999999\n\n"))
    assert reader.retry_ms == 20
