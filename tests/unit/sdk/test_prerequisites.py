"""Flags that ask for other flags, and cycles of them."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.unit.sdk.documents import ask, flag, needs
from vexil.sdk import FlagSet

LONG = 20_000


def test_a_flag_answers_only_if_every_prerequisite_gives_its_variant() -> None:
    flags = {
        "a": flag(off_variant="off", prerequisites=needs(("b", "on"), ("c", "off"))),
        "b": flag(rules=[{"id": "r", "if": {"var": "vip"}, "serve": "on"}], default="off"),
        "c": flag(default="off"),
    }
    flag_set = FlagSet(flags=flags)
    assert ask(flag_set, "a", {"vip": True}).variant == "on"
    answer = ask(flag_set, "a", {"vip": False})
    assert (answer.variant, answer.reason) == ("off", "DISABLED")


def test_a_prerequisite_on_its_off_path_gives_its_off_variant() -> None:
    flags = {
        "a": flag(prerequisites=needs(("b", "off"))),
        "b": flag(enabled=False, off_variant="off"),
        "c": flag(prerequisites=needs(("d", "on"))),
        "d": flag(enabled=False),
    }
    flag_set = FlagSet(flags=flags)
    assert ask(flag_set, "a").variant == "on"
    assert ask(flag_set, "c").reason == "DISABLED"


def test_a_flag_whose_prerequisite_is_kept_from_it_by_a_disabled_flag_is_off() -> None:
    flag_set = FlagSet(
        flags={
            "a": flag(prerequisites=needs(("b", "on"))),
            "b": flag(prerequisites=needs(("c", "on")), off_variant="off"),
            "c": flag(),
        }
    )
    assert (ask(flag_set, "a").variant, ask(flag_set, "a").reason) == ("on", "DEFAULT")
    flag_set.replace_flag("c", flag(enabled=False))
    assert ask(flag_set, "a").reason == "DISABLED"
    flag_set.replace_flag("c", None)
    assert ask(flag_set, "a").reason == "DISABLED"


def test_what_clients_keep_for_every_context_asks_for_no_other_flag() -> None:
    # Clients keep what is STATIC: "a" and, by way of "b", "above" turn with the context.
    flags = {
        "base": flag(rules=[{"id": "r", "if": {"var": "vip"}, "serve": "on"}], default="off"),
        "plain": flag(),
        "a": flag(prerequisites=needs(("base", "on"))),
        "b": flag(prerequisites=needs(("a", "on"))),
        "above": flag(prerequisites=needs(("b", "on")), off_variant="off"),
        "steady": flag(prerequisites=needs(("plain", "on"))),
        "none": flag(prerequisites=needs(("plain", "on")), default=None),
    }
    flag_set = FlagSet(flags=flags)
    assert ask(flag_set, "plain").reason == "STATIC"
    for key in flags.keys() - {"base", "plain"}:
        assert ask(flag_set, key, {"vip": True}).reason == "DEFAULT", key
    assert ask(flag_set, "above", {"vip": False}).reason == "DISABLED"
    flag_set.replace_flag("steady", flag())
    assert ask(flag_set, "steady").reason == "STATIC"


@pytest.mark.parametrize("order", list(permutations("abcd")))
def test_a_cycle_gives_the_same_answers_wherever_one_starts(order: tuple[str, ...]) -> None:
    # a, b, c ask for each other in a circle; d asks for two of them from outside, c, which b asks for, first.
    flags = {
        "a": flag(off_variant="off", prerequisites=needs(("b", "on"))),
        "b": flag(off_variant="off", prerequisites=needs(("c", "on"))),
        "c": flag(off_variant="on", prerequisites=needs(("a", "on"))),
        "d": flag(prerequisites=needs(("c", "on"), ("b", "off"))),
    }
    flag_set = FlagSet(flags={key: flags[key] for key in order})
    answers = {key: (ask(flag_set, key).variant, ask(flag_set, key).reason) for key in order}
    off, on = ("off", "DISABLED"), ("on", "DISABLED")
    assert answers == {"a": off, "b": off, "c": on, "d": ("on", "DEFAULT")}
    assert flag_set.cyclic == {"a", "b", "c"}


def test_a_cycle_ends_when_one_flag_of_it_changes_or_goes() -> None:
    flag_set = FlagSet(
        flags={"a": flag(prerequisites=needs(("b", "on"))), "b": flag(prerequisites=needs(("a", "on")))}
    )
    assert flag_set.cyclic == {"a", "b"}
    flag_set.replace_flag("b", flag())
    assert flag_set.cyclic == frozenset()
    assert ask(flag_set, "a").variant == "on"
    flag_set.replace_flag("b", flag(prerequisites=needs(("b", "on"))))
    assert flag_set.cyclic == {"b"}
    flag_set.replace_flag("b", None)
    assert flag_set.cyclic == frozenset()


def test_cycles_are_sought_again_only_when_a_prerequisite_changed() -> None:
    flag_set = FlagSet(flags={"a": flag(prerequisites=needs(("b", "on"))), "b": flag()})
    before = flag_set.cyclic
    flag_set.replace_flag("a", flag(prerequisites=needs(("b", "off"))))
    flag_set.replace_flag("b", flag(enabled=False))
    assert flag_set._cyclic is before
    flag_set.replace_flag("b", flag(prerequisites=needs(("a", "on"))))
    assert flag_set._cyclic is None


def test_a_chain_may_be_longer_than_the_stack_of_the_interpreter() -> None:
    flags = {f"f{n}": flag(prerequisites=needs((f"f{n + 1}", "on"))) for n in range(LONG)}
    flags[f"f{LONG}"] = flag()
    flag_set = FlagSet(flags=flags)
    assert ask(flag_set, "f0").variant == "on"
    flag_set.replace_flag(f"f{LONG}", flag(prerequisites=needs(("f0", "on"))))
    assert len(flag_set.cyclic) == LONG + 1
