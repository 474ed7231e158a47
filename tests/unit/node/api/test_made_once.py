"""What is made once for all: whom a making serves, what becomes of one that does not end well, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio.testing

from vexil.node.api.made_once import MadeOnce

A_MAKING_S = 10.0


class Broken(Exception):
    """A making that fails."""


@dataclass
class Workshop:
    """Makes strings that say of what, and which making it was; each takes `A_MAKING_S`."""

    kept_max: int = 8
    state: str = "old"
    """What is made now; one that says another is not current."""
    fails: int = 0
    """So many makings from now on."""
    begun_s: list[float] = field(default_factory=list)
    got: dict[str, str] = field(default_factory=dict)
    at_s: dict[str, float] = field(default_factory=dict)
    raised: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.made: MadeOnce[str, str] = MadeOnce(kept_max=self.kept_max)
        self.start_s = trio.current_time()

    @property
    def now_s(self) -> float:
        return trio.current_time() - self.start_s

    async def make(self) -> str:
        self.begun_s.append(self.now_s)
        made = f"{self.state} {len(self.begun_s)}"
        fails, self.fails = self.fails > 0, self.fails - 1
        await trio.sleep(A_MAKING_S)
        if fails:
            raise Broken
        return made

    async def of(self, address: str = "a", subject: object = None) -> str:
        return await self.made.of(
            address, subject, self.make, current=lambda made: made.startswith(self.state)
        )

    async def ask(self, who: str, *, after_s: float = 0, subject: object = None) -> None:
        await trio.sleep(after_s)
        try:
            self.got[who] = await self.of(subject=subject)
        except Broken:
            self.raised.append(who)
        self.at_s[who] = self.now_s

    async def turn(self, state: str, *, after_s: float) -> None:
        await trio.sleep(after_s)
        self.state = state


async def test_who_asks_together_shares_one_making(autojump_clock: object) -> None:
    shop = Workshop()
    async with trio.open_nursery() as nursery:
        for who in ("one", "two", "three"):
            nursery.start_soon(shop.ask, who)
    assert set(shop.got.values()) == {"old 1"}
    assert await shop.of() == "old 1"
    assert shop.begun_s == [0]


async def test_what_is_not_current_is_made_again(autojump_clock: object) -> None:
    shop = Workshop()
    assert await shop.of() == "old 1"
    shop.state = "new"
    assert await shop.of() == "new 2"
    assert shop.made.last("a") == "new 2"


async def test_what_was_begun_before_a_call_serves_it_only_if_it_is_current(autojump_clock: object) -> None:
    shop = Workshop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shop.ask, "first")
        nursery.start_soon(shop.ask, "same")
        nursery.start_soon(partial(shop.ask, "late", after_s=5))
    assert shop.got == {"first": "old 1", "same": "old 1", "late": "old 1"}
    shop.state = "new"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shop.ask, "first")
        nursery.start_soon(partial(shop.turn, "newer", after_s=3))
        nursery.start_soon(partial(shop.ask, "late", after_s=5))
    assert (shop.got["first"], shop.got["late"]) == ("new 2", "newer 3")


async def test_where_changes_never_stop_nobody_waits_for_more_than_two_makings(
    autojump_clock: object,
) -> None:
    shop = Workshop()
    async with trio.open_nursery() as nursery:
        for second in range(100):
            nursery.start_soon(partial(shop.turn, f"state-{second}", after_s=second))
            nursery.start_soon(partial(shop.ask, f"who-{second}", after_s=second + 0.5))
    for second in range(100):
        assert shop.at_s[f"who-{second}"] - (second + 0.5) <= 2 * A_MAKING_S
        assert int(shop.got[f"who-{second}"].split()[0].removeprefix("state-")) >= second
    assert len(shop.begun_s) <= 100 / A_MAKING_S + 2


async def test_no_address_waits_for_the_making_of_another(
    autojump_clock: object,
) -> None:
    shop = Workshop()
    async with trio.open_nursery() as nursery:
        for address in ("a", "b", "c"):
            nursery.start_soon(shop.of, address)
    assert shop.begun_s == [0, 0, 0]
    assert {shop.made.last(address) for address in "abc"} == {"old 1", "old 2", "old 3"}


async def test_others_go_on_when_the_maker_is_cancelled(autojump_clock: object) -> None:
    shop = Workshop()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def leave() -> None:
            with scope:
                await shop.ask("maker")

        nursery.start_soon(leave)
        await trio.testing.wait_all_tasks_blocked()
        for who in ("one", "two"):
            nursery.start_soon(shop.ask, who)
        await trio.sleep(4)
        scope.cancel()
    assert shop.got == {"one": "old 2", "two": "old 2"}
    assert shop.begun_s == [0, 4]


async def test_a_waiter_who_is_cancelled_does_not_stop_the_maker(autojump_clock: object) -> None:
    shop = Workshop()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shop.ask, "maker")
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await shop.ask("waiter")
    assert shop.got == {"maker": "old 1"}


async def test_a_making_that_fails_concerns_its_caller_alone(autojump_clock: object) -> None:
    shop = Workshop(fails=1)
    async with trio.open_nursery() as nursery:
        for who in ("one", "two", "three"):
            nursery.start_soon(shop.ask, who)
    assert len(shop.raised) == 1
    assert set(shop.got.values()) == {"old 2"}
    assert len(shop.got) == 2


async def test_a_making_that_fails_leaves_what_was_kept(autojump_clock: object) -> None:
    shop = Workshop()
    await shop.of()
    shop.state, shop.fails = "new", 1
    with pytest.raises(Broken):
        await shop.of()
    assert shop.made.last("a") == "old 1"
    assert await shop.of() == "new 3"


async def test_what_was_made_of_another_subject_serves_nobody(autojump_clock: object) -> None:
    shop = Workshop()
    first, second = object(), object()
    assert await shop.of(subject=first) == "old 1"
    assert await shop.of(subject=second) == "old 2"
    shop.state = "new"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(shop.ask, "first", subject=first))
        nursery.start_soon(partial(shop.turn, "newer", after_s=3))
        # One of the two makes the next one while the other waits for it, and then his own.
        nursery.start_soon(partial(shop.ask, "again", after_s=4, subject=first))
        nursery.start_soon(partial(shop.ask, "second", after_s=5, subject=second))
    assert shop.got["first"] == "new 3"
    assert {shop.got["again"], shop.got["second"]} == {"newer 4", "newer 5"}


async def test_none_can_be_made_and_is_kept(autojump_clock: object) -> None:
    made: MadeOnce[str, None] = MadeOnce(kept_max=1)
    begun = 0

    async def make() -> None:
        nonlocal begun
        begun += 1
        await trio.sleep(A_MAKING_S)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: made.of("a", None, make, current=lambda _: True))
    await made.of("a", None, make, current=lambda _: True)
    assert begun == 1


async def test_so_many_are_kept_and_the_one_that_was_asked_for_first_goes_first(
    autojump_clock: object,
) -> None:
    shop = Workshop(kept_max=2)
    for address in ("a", "b", "a", "c"):
        await shop.of(address)
    assert [shop.made.last(address) for address in "abc"] == ["old 1", None, "old 3"]
    shop.state = "new"
    await shop.of("a")
    await shop.of("b")
    assert [shop.made.last(address) for address in "abc"] == ["new 4", "new 5", None]
