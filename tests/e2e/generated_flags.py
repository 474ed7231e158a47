"""Flags and contexts drawn from a seed: every kind of flag that can be said to flagd, and people they tell apart.

Left out are the few places where flagd's own implementations differ from each other or from ours on purpose: see
`tests.property.test_targeting_as_flagd`.
"""

from __future__ import annotations

from random import Random
from typing import Any

from vexil.sdk import FlagSet, to_flagd

VARIANTS: dict[str, dict[str, Any]] = {
    "boolean": {"on": True, "off": False, "third": True},
    "string": {"on": "yes", "off": "", "third": 'naïve "text" \\ 雪'},
    "integer": {"on": 10, "off": 0, "third": -(2**40)},
    "float": {"on": 10.0, "off": 0.5, "third": -1e-9},
    "object": {"on": {"a": [1, None, {"b": "c"}]}, "off": {}, "third": {"x": 2.5}},
}
COUNTRIES = ("DE", "FR", "US", "JP")
VERSIONS = ("1.0.0", "1.2.3-rc.1", "2.0.0", "v2.1", "nonsense")
SEGMENTS: dict[str, Any] = {
    "staff": {
        "members": frozenset({"user-1", "user-2", "user-30"}),
        "rules": [{"id": "r1", "if": {"ends_with": [{"var": "email"}, "@shop.example"]}}],
    },
    "vips": {"members": frozenset({"user-5"}), "rules": []},
}


def contexts(rng: Random, count: int) -> list[dict[str, Any]]:
    """People; some without a targeting key, some with attributes of the wrong type."""
    made: list[dict[str, Any]] = [{}, {"targetingKey": ""}]
    while len(made) < count:
        person: dict[str, Any] = {}
        if rng.random() < 0.9:
            person["targetingKey"] = f"user-{rng.randrange(60)}"
        if rng.random() < 0.8:
            person["country"] = rng.choice((*COUNTRIES, 5, None))
        if rng.random() < 0.7:
            person["level"] = rng.choice((0, 1, 5, 9, 2.5, "7", True))
        if rng.random() < 0.7:
            person["app"] = {"version": rng.choice(VERSIONS)}
        if rng.random() < 0.5:
            person["email"] = f"x{rng.randrange(9)}@{rng.choice(('shop.example', 'else.example'))}"
        made.append(person)
    return made


def flag_set(rng: Random, count: int) -> FlagSet:
    """``count`` flags, each of which may ask for an earlier one, and `SEGMENTS`; all of them can be said to flagd."""
    flags: dict[str, Any] = {}
    for number in range(count):
        key = f"gen-{number:03}"
        flags[key] = _flag(rng, list(flags))
    while left_out := to_flagd(FlagSet(flags=flags, segments=SEGMENTS))[1]:
        for key, _ in left_out:
            # It asks for one that buckets by its own key, which would be this one's in its place.
            assert flags[key]["prerequisites"]
            flags[key]["prerequisites"] = []
    return FlagSet(flags=flags, segments=SEGMENTS)


def body(key: str, document: Any) -> dict[str, Any]:
    """How a flag of the set is created in the environment ``prod``."""
    of_environment = ("enabled", "default", "off_variant", "rules", "targeting")
    settings = {name: document[name] for name in of_environment if document[name] not in (None, [])}
    return {
        "key": key,
        "type": document["type"],
        "variants": document["variants"],
        "prerequisites": document["prerequisites"],
        "environments": {"prod": settings},
    }


def _flag(rng: Random, earlier: list[str]) -> Any:
    kind = rng.choice(list(VARIANTS))
    names = list(VARIANTS[kind])
    document: dict[str, Any] = {
        "type": kind,
        "enabled": rng.random() < 0.85,
        "off_variant": rng.choice((None, *names)),
        "default": rng.choice((None, *names, *names)),
        "variants": VARIANTS[kind],
        "rules": [],
        "targeting": None,
        "prerequisites": [],
        "metadata": {},
        "client_visible": False,
    }
    how = rng.random()
    if how < 0.5:
        document["rules"] = [_rule(rng, names, number) for number in range(rng.randint(1, 3))]
    elif how < 0.75:
        document["targeting"] = {"if": [_condition(rng), rng.choice(names), _split(rng, names)]}
    if earlier and rng.random() < 0.25:
        document["prerequisites"] = [{"flag": rng.choice(earlier), "variant": rng.choice(names)}]
    return document


def _rule(rng: Random, names: list[str], number: int) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": f"r{number}", "if": _condition(rng)}
    if rng.random() < 0.5:
        return {**rule, "serve": rng.choice(names)}
    split = [[name, rng.randint(int(name == names[0]), 9)] for name in names]
    by = rng.choice(({}, {"by": {"var": "country"}}, {"by": {"var": "app.version"}}))
    return {**rule, "split": split, **by}


def _split(rng: Random, names: list[str]) -> Any:
    entries = [[name, rng.randint(1, 9)] for name in names]
    by = rng.choice(([], [{"cat": [{"var": "$flagd.flagKey"}, {"var": "country"}]}]))
    return {"fractional": [*by, *entries]}


def _condition(rng: Random, depth: int = 2) -> Any:
    if depth and rng.random() < 0.3:
        return {rng.choice(("and", "or")): [_condition(rng, depth - 1), _condition(rng, depth - 1)]}
    return rng.choice(
        (
            {"==": [{"var": "country"}, rng.choice(COUNTRIES)]},
            {"in": [{"var": "country"}, rng.sample(COUNTRIES, 2)]},
            {">": [{"var": "level"}, rng.randrange(6)]},
            {"starts_with": [{"var": "email"}, f"x{rng.randrange(9)}"]},
            {"sem_ver": [{"var": "app.version"}, rng.choice((">=", "<", "^", "~")), "1.2.0"]},
            {"!": [{"var": "email"}]},
            {"segment": "staff"},
            {"in_segment": [{"var": "targetingKey"}, "vips"]},
            True,
        )
    )
