"""Histories about services with the SDK: what they answer from, what they say of themselves, how they come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sim.checked.stage import Node, Stage
from vexil.chaos.clients.operations import CONTESTED
from vexil.chaos.clients.services import SILENT_S
from vexil.chaos.run.history import Standing
from vexil.chaos.run.plan import Service
from vexil.sdk.documents import flag_set_document, flag_set_from
from vexil.sdk.model import FlagSet

SHOP = Service("shop", "eu", "prod", ("eu-1",))
CROWD = [f"crowd-{n}" for n in range(24)]


def served(node: Node, *, spoil: Callable[[dict[str, Any]], object] = lambda _: None) -> FlagSet:
    """A client's copy of what ``node`` serves; ``spoil`` does to its document what must not be done."""
    document = flag_set_document(node.project.flag_set("prod"))
    spoil(document)
    return flag_set_from(document)


def follows(stage: Stage, node: Node, flag_set: FlagSet | None = None, **members: Any) -> Standing:
    """The shop's client answers from what ``node`` serves, unless it is another set."""
    standing = stage.history.standings.setdefault(SHOP.name, Standing(SHOP, life=1))
    standing.source, standing.slot, standing.heard_s = "node", node.name, stage.now_s
    standing.flag_set = served(node) if flag_set is None else flag_set
    standing.token = dict(node.replica.vv)
    for name, value in members.items():
        setattr(standing, name, value)
    stage.checkers.followed(standing)
    return standing


def with_flags(stage: Stage) -> Node:
    """A node that has the flags that everybody edits."""
    node = stage.node("eu-1")
    for flag in CONTESTED:
        node.create(flag)
    return node


# -- P5


def has_it_off_after_a_kill(stage: Stage) -> None:
    node = with_flags(stage)
    node.do("kill", "a", environment="prod")
    follows(stage, node)


def has_it_on_in_spite_of_a_kill(stage: Stage) -> None:
    node = with_flags(stage)
    node.do("kill", "a", environment="prod")
    follows(
        stage,
        node,
        served(node, spoil=lambda d: d["flags"].update(a={**d["flags"]["a"], "enabled": True})),
    )


# -- P6


def follows_an_edit(stage: Stage) -> None:
    node = with_flags(stage)
    follows(stage, node)
    node.do("delete", "b")
    follows(stage, node)
    stage.settle()


def goes_back(stage: Stage) -> None:
    node = with_flags(stage)
    before, token = served(node), dict(node.replica.vv)
    node.do("delete", "b")
    follows(stage, node)
    follows(stage, node, before, token=token)


def has_missed_an_edit(stage: Stage) -> None:
    node = with_flags(stage)
    before = served(node)
    for flag in CONTESTED:
        node.do("delete", flag)
    follows(stage, node, before)


def lacks_what_its_node_has(stage: Stage) -> None:
    node = with_flags(stage)
    follows(stage, node)
    node.do("delete", "b")
    stage.settle()


# -- P14


def answers_otherwise(stage: Stage) -> None:
    node = with_flags(stage)

    def turn(document: dict[str, Any]) -> None:
        document["flags"] = {key: {**flag, "default": "off"} for key, flag in document["flags"].items()}

    follows(stage, node, served(node, spoil=turn))


# -- P17


def is_cut_off_and_says_so(stage: Stage) -> None:
    node = with_flags(stage)
    standing = follows(stage, node)
    stage.now_s += SILENT_S * 2
    standing.stale_since_s = standing.heard_s
    stage.checkpoint()
    stage.checkers.silent(standing)


def is_cut_off_and_feels_well(stage: Stage) -> None:
    follows(stage, with_flags(stage))
    stage.now_s += SILENT_S * 2
    stage.checkpoint()


def hears_again_and_had_felt_well(stage: Stage) -> None:
    standing = follows(stage, with_flags(stage))
    stage.now_s += SILENT_S * 2
    stage.checkers.silent(standing)


def is_stale_since_too_late(stage: Stage) -> None:
    follows(stage, with_flags(stage), stale_since_s=5.0)


def does_not_get_well(stage: Stage) -> None:
    follows(stage, with_flags(stage), stale_since_s=0.0)
    stage.settle()


def has_what_nobody_has_any_more(stage: Stage) -> None:
    node = with_flags(stage)
    follows(stage, node, token={**node.replica.vv, 77: 1}, stale_since_s=0.0)
    stage.settle()


# -- P18


def _come_back(stage: Stage, pause_s: float) -> None:
    stage.checkers.parted(CROWD, "eu-1")
    for name in CROWD:
        stage.now_s += pause_s
        stage.checkers.asked(name, "eu-2")


def come_back_one_by_one(stage: Stage) -> None:
    _come_back(stage, 0.02)


def come_back_at_once(stage: Stage) -> None:
    _come_back(stage, 0.0001)


def come_back_at_once_and_late(stage: Stage) -> None:
    stage.now_s += 0.7
    _come_back(stage, 0.0001)


def too_few_to_tell(stage: Stage) -> None:
    stage.checkers.parted(CROWD[:8], "eu-1")
    for name in CROWD[:8]:
        stage.checkers.asked(name, "eu-2")
