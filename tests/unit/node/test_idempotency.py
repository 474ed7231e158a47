"""How many idempotency keys are remembered, and for how long."""

from __future__ import annotations

from random import Random

import pytest

from vexil.crdt import hlc as hlcs
from vexil.crdt.change import NO_GENERATION, Change
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.node import idempotency
from vexil.node.idempotency import KEPT_MS, IdempotencyIndex

BEGIN_MS = 1_700_000_000_000


class Author:
    """Writes changes with idempotency keys, each under its own fingerprint."""

    def __init__(self) -> None:
        self._replica = Replica()
        self._pen = Pen(self._replica, 7)

    def write(self, key: str | None, *, at_ms: int = BEGIN_MS) -> Change:
        change = self._pen.write(
            [CellWrite("flag/f", NO_GENERATION, "kill/prod", value=True)],
            hlc=hlcs.pack(at_ms),
            author="ada",
            idempotency=None if key is None else (key, Random(key).randbytes(16)),
        )
        self._replica.apply(change)
        return change


def known(index: IdempotencyIndex, keys: str) -> str:
    return "".join(key for key in keys if index.lookup(key) is not None)


def test_of_too_many_keys_the_oldest_are_forgotten_and_all_others_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "KEYS_MAX", 3)
    author, index = Author(), IdempotencyIndex()
    made = {key: author.write(key) for key in "abc"}
    for change in made.values():
        index.register(change)
    assert known(index, "abc") == "abc"
    # Neither a key that is there nor a change without one takes anybody's place.
    index.register(author.write("a"))
    index.register(author.write(None))
    assert known(index, "abc") == "abc"
    remembered = index.lookup("a")
    assert remembered is not None
    assert remembered.dot == made["a"].dot, "the first stays"
    index.register(author.write("d"))
    assert known(index, "abcd") == "bcd"
    index.register(author.write("a"))
    assert known(index, "abcd") == "acd"


def test_a_key_is_forgotten_a_day_after_its_use_and_not_before() -> None:
    author, index = Author(), IdempotencyIndex()
    index.register(author.write("a"))
    index.register(author.write("b", at_ms=BEGIN_MS + 1))
    index.forget_before(BEGIN_MS + KEPT_MS)
    assert known(index, "ab") == "ab"
    index.forget_before(BEGIN_MS + KEPT_MS + 1)
    assert known(index, "ab") == "b"
    index.forget_before(0)
    assert known(index, "ab") == "b"


def test_of_keys_read_back_after_a_start_and_those_since_the_oldest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "KEYS_MAX", 3)
    author, older, index = Author(), IdempotencyIndex(), IdempotencyIndex()
    index.begin()
    for key in "abc":
        older.register(author.write(key))
    for key in "de":
        index.register(author.write(key))
    assert known(index, "abcde") == "de"
    index.finish(older)
    assert known(index, "abcde") == "cde"


def remembered(index: IdempotencyIndex, key: str) -> tuple[int, int] | None:
    found = index.lookup(key)
    return None if found is None else found.dot


def test_a_change_that_is_here_takes_the_place_of_one_that_only_a_log_tells_of() -> None:
    author = Author()
    never_came, issued_again, later = (author.write("a") for _ in range(3))
    here = {issued_again.dot, later.dot}
    index = IdempotencyIndex(here.__contains__)
    index.register(never_came)
    assert remembered(index, "a") == never_came.dot
    for change in (issued_again, later, never_came):
        index.register(change)
    assert remembered(index, "a") == issued_again.dot


@pytest.mark.parametrize(("here", "stays"), [("older", "older"), ("newer", "newer"), ("both", "older")])
def test_of_a_key_that_was_read_back_and_one_since_the_one_that_is_here_stays(here: str, stays: str) -> None:
    author = Author()
    dots = {"older": author.write("a"), "newer": author.write("a")}
    index, older = IdempotencyIndex(lambda dot: here == "both" or dot == dots[here].dot), IdempotencyIndex()
    index.begin()
    older.register(dots["older"])
    index.register(dots["newer"])
    index.finish(older)
    assert remembered(index, "a") == dots[stays].dot


def test_a_key_is_forgotten_if_it_stands_for_the_change_that_will_not_come_and_for_no_other() -> None:
    author, index = Author(), IdempotencyIndex()
    change = author.write("a")
    index.register(change)
    index.forget("a", (change.incarnation, change.seq + 1))
    index.forget("b", change.dot)
    assert remembered(index, "a") == change.dot
    index.forget("a", change.dot)
    assert remembered(index, "a") is None
