"""What two tokens say about which state is older, and what they do not say."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vexil.node.api import tokens as issued
from vexil.sdk.client.tokens import Order, is_sendable, order

VECTORS = st.dictionaries(st.integers(1, 2**64 - 1), st.integers(1, 2**50), max_size=150)
NAMES = st.text("abcxyz019._-", min_size=1, max_size=64)


@given(VECTORS, VECTORS, NAMES)
def test_the_tokens_of_nodes_are_understood(ours: dict[int, int], more: dict[int, int], name: str) -> None:
    both = {i: max(ours.get(i, 0), more.get(i, 0)) for i in ours.keys() | more.keys()}
    mine, joined = issued.encode(name, ours), issued.encode(name, both, system={5: 1})
    if len(both) <= issued.ENTRIES_MAX:
        assert order(mine, joined) is Order.COVERS
    for incarnation, seq in ours.items():
        if seq > 1:
            assert order(mine, issued.encode(name, {**ours, incarnation: seq - 1})) is Order.OLDER


def test_an_incarnation_that_is_missing_proves_nothing() -> None:
    ours = issued.encode("shop", {1: 5, 2: 5})
    assert order(ours, issued.encode("shop", {1: 9})) is Order.UNKNOWN
    assert order(ours, issued.encode("shop", {1: 4})) is Order.OLDER


def test_what_cannot_be_read_is_not_compared() -> None:
    ours = issued.encode("shop", {1: 5})
    for other in ("", "x", "!!", "A" * 5000, issued.encode("other", {1: 9}), None):
        assert order(ours, other) is Order.UNKNOWN
    assert order(None, "x") is Order.COVERS
    assert order("x", "x") is Order.COVERS


@given(st.text(max_size=40))
def test_any_text_is_compared_without_an_error(text: str) -> None:
    assert order(issued.encode("shop", {1: 5}), text) is Order.UNKNOWN


@given(st.binary(max_size=60))
def test_any_bytes_in_a_token_are_read_without_an_error(data: bytes) -> None:

    order(issued.encode("shop", {1: 5}), base64.urlsafe_b64encode(data).decode().rstrip("="))


@pytest.mark.parametrize("text", ["", "a\nb", "ä", "x" * 5000, None, 7])
def test_what_cannot_stand_in_a_header_is_never_sent(text: object) -> None:
    assert not is_sendable(text)
    assert is_sendable(issued.encode("shop", {1: 5}))
