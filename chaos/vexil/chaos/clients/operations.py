"""What clients ask for: the kinds of operations, how often each role asks for which, and how a schedule is drawn.

An operation is data (`vexil.chaos.run.plan.Operation`); what it means in detail is said by
`vexil.chaos.clients.wishes`. All weights are here. Some things are wanted by everybody at once, because races are what
is looked for: one flag in one environment above all, and now and then a *scuffle*, in which several clients delete,
create and edit one flag within a moment. And now and then the last words are removals, with nothing behind them that
would tell of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final, NamedTuple

from vexil.chaos.run.plan import Client, Operation

PROJECT: Final = "demo"
ENVIRONMENTS: Final = ("dev", "prod")
CONTESTED: Final = ("a", "b", "c")
"""Flags that everybody edits."""
PAIR: Final = ("pair-1", "pair-2")
"""Flags that are edited together or not at all: their releases are equal in every state."""
SOFT: Final = tuple(f"soft-{n:02d}" for n in range(1, 21))
"""Flags that are edited now and then; whoever wants one that is not there makes it."""
SEGMENTS: Final = ("staff", "beta")
PEOPLE: Final = ("ann", "bob", "cleo")
"""For whom flags are evaluated; rules and segments name them."""
CONTEXTS: Final = {person: {"targetingKey": person, "who": person} for person in PEOPLE}

FAVOURITE: Final = 0.4
"""How often all of them want the same flag, in the same environment."""
STAYS: Final = 0.7
"""How often a session goes on with the flag that it was at before."""
SCUFFLE: Final = 0.07
"""How often an operation is a scuffle."""
SCUFFLE_S: Final = 0.25
"""What is to happen at once, happens within so long: as much as a change takes from region to region."""
SCUFFLES: Final[tuple[tuple[tuple[str, float], ...], ...]] = (
    (("delete", 0), ("create", 0), ("patch", 0), ("stale", 0)),
    (("delete", 0), ("create", 0.8), ("create", 0.8), ("patch", 0.8)),
    (("kill", 0), ("unkill", 0.8), ("kill", 0.8), ("unkill", 0.8)),
    (("tag", 0), ("untag", 0.8), ("tag", 0.8), ("resolve", 1.6)),
    (("rule", 0), ("unrule", 0.8), ("rule", 0.8), ("move", 0.8)),
    (("pair", 0), ("pair", 0), ("resolve", 0.8)),
)
"""Of each step the kind, and after how many seconds it may begin: what comes later can have seen what came before."""

REMOVALS_LAST: Final = 0.3
"""How often people clear up before they go: what is written last is removals."""
REMOVALS: Final = ("delete", "untag", "unrule")
REMOVALS_FROM: Final = 0.7
"""From which share of the work on."""


class Odds(NamedTuple):
    """How often each role asks for a kind of operation, next to the other kinds that the role asks for."""

    admin: float = 0
    session: float = 0
    reader: float = 0
    script: float = 0


KINDS: Final = {
    # edits of a flag that everybody edits
    "patch": Odds(admin=8, session=5, script=4),
    "delete": Odds(admin=1, session=0.3, script=0.5),
    "create": Odds(admin=2, session=0.7, script=1),
    "kill": Odds(admin=4, session=2, script=1),
    "unkill": Odds(admin=4, session=2, script=1),
    "tag": Odds(admin=3, session=1, script=2),
    "untag": Odds(admin=2, session=1, script=1),
    "rule": Odds(admin=3, session=1, script=1),
    "unrule": Odds(admin=2),
    "move": Odds(admin=2),
    "split": Odds(admin=2),
    "variant": Odds(admin=2),
    "prerequisite": Odds(admin=2),
    "targeting": Odds(admin=2),
    "stale": Odds(admin=4, session=2),
    "resolve": Odds(admin=4),
    # several flags in one change
    "pair": Odds(admin=4, session=2, script=2),
    "both": Odds(admin=2, script=1),
    "set": Odds(admin=2, script=1),
    # a flag of its own, as a rule
    "metadata": Odds(admin=12, session=3, script=3),
    # segments
    "segment": Odds(admin=2),
    "segment_delete": Odds(admin=0.5),
    "segment_member": Odds(admin=3, script=1),
    "segment_rule": Odds(admin=1),
    # reads
    "read": Odds(session=15, reader=5),
    "read_all": Odds(session=6, reader=3),
}
ROLES: Final = Odds._fields
READS: Final = frozenset(("read", "read_all"))


def draw(rng: Random, clients: Sequence[Client], *, count: int, work_s: float) -> tuple[Operation, ...]:
    """``count`` operations within ``work_s`` by those ``clients`` who write, as many by those who only read.

    In the order of their moments, and numbered in it.
    """
    writers = [client for client in clients if client.role != "reader"]
    readers = [client for client in clients if client.role == "reader"]
    drawn = list(_drawn(rng, writers, count, work_s)) if writers else []
    drawn += _drawn(rng, readers, count, work_s) if readers else []
    if rng.random() < REMOVALS_LAST:
        drawn = [_clearing(rng, each) if each.at_s >= REMOVALS_FROM * work_s else each for each in drawn]
    drawn.sort(key=lambda operation: operation.at_s)
    return tuple(replace(operation, number=number) for number, operation in enumerate(drawn, 1))


def _drawn(rng: Random, clients: Sequence[Client], count: int, work_s: float) -> Iterator[Operation]:
    """Operations without numbers."""
    before: dict[str, tuple[str, str]] = {}
    for moment in sorted(rng.uniform(0, work_s) for _ in range(count)):
        client = rng.choice(clients)
        flag, environment = rng.choice(CONTESTED), rng.choice(ENVIRONMENTS)
        if rng.random() < FAVOURITE:
            flag, environment = CONTESTED[0], ENVIRONMENTS[-1]
        if client.role == "session" and client.name in before and rng.random() < STAYS:
            flag, environment = before[client.name]
        before[client.name] = flag, environment
        if client.role != "reader" and rng.random() < SCUFFLE:
            some = rng.sample(clients, len(clients))
            for index, (kind, after_s) in enumerate(rng.choice(SCUFFLES)):
                at_s = min(moment + after_s + rng.uniform(0, SCUFFLE_S), work_s)
                name = some[index % len(some)].name
                yield Operation(0, name, at_s, kind, _object(rng, kind, flag), environment)
            continue
        odds = [getattr(each, client.role) for each in KINDS.values()]
        kind = rng.choices(list(KINDS), odds)[0]
        yield Operation(0, client.name, moment, kind, _object(rng, kind, flag), environment)


def _clearing(rng: Random, operation: Operation) -> Operation:
    """A removal in the place of a write."""
    if operation.kind in READS:
        return operation
    if operation.flag in CONTESTED and rng.random() < 0.5:
        return replace(operation, kind=rng.choice(REMOVALS))
    return replace(operation, kind="delete", flag=rng.choice((*CONTESTED, *SOFT)))


def _object(rng: Random, kind: str, flag: str) -> str:
    if kind == "pair":
        return PAIR[0]
    if kind == "metadata":
        return rng.choice(SOFT)
    if kind.startswith("segment"):
        return rng.choice(SEGMENTS)
    return flag


def flag_body(mark: str) -> dict[str, Any]:
    """A boolean flag that is on everywhere."""
    return {
        "type": "boolean",
        "description": mark,
        "variants": {"on": True, "off": False},
        "environments": {e: {"enabled": True, "default": "on", "off_variant": "off"} for e in ENVIRONMENTS},
    }
