"""Histories about what is shown: to whom, of which moment, and how much of it (P5 to P7, P10, P12, P14, P15)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from tests.sim.checked.histories import acknowledged, described, edit, put, unsee
from tests.sim.checked.stage import Node, Stage
from vexil.chaos.clients.operations import PAIR, PROJECT, flag_body
from vexil.chaos.run.history import Read
from vexil.chaos.world import junk
from vexil.crdt.change import Change

# -- P5


def shown_in_spite_of_a_kill(stage: Stage) -> None:
    left, _ = stage.two()
    served = left.project.flag_set("prod")
    left.do("kill", environment="prod")
    served.replace_flag("f", {**served.flags["f"], "enabled": True})
    left.tell_advanced()


def killed_and_unkilled(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("kill", environment="prod")
    left.unkill()
    assert left.project.flag_set("prod").flags["f"]["enabled"]


# -- P6


def answer(node: Node, **members: Any) -> Read:
    """What ``node`` gives of f in prod now."""
    return Read(
        *("kim", 1, node.name, "f", "prod", 0.0, 0.0, "ok"),
        **{"token": dict(node.replica.vv), "variant": "on", "reason": "STATIC", **members},
    )


def reads_under_a_token(stage: Stage) -> None:
    left, right, _ = edit(stage)
    stage.read(answer(left))
    stage.read(answer(right, needed=dict(left.replica.vv)))


def reads_less_than_the_token(stage: Stage) -> None:
    left, right = stage.two()
    left.do("patch", **described("later"))
    stage.read(answer(right, needed=dict(left.replica.vv)))


def reads_what_nobody_wrote(stage: Stage) -> None:
    left, _ = stage.two()
    stage.read(answer(left, token={**left.replica.vv, 77: 1}))


def reads_backwards(stage: Stage) -> None:
    left, right = stage.two()
    token = dict(right.replica.vv)
    left.do("patch", **described("later"))
    stage.read(answer(left, needed=token))
    stage.read(answer(right, needed=token))


def reads_a_flag_that_is_not_there(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("delete")
    stage.read(answer(left))


def reads_on_beside_its_kill(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("kill", environment="prod")
    stage.read(answer(left))


def reads_an_older_release(stage: Stage) -> None:
    left, _ = stage.two()
    for release in ("old", "new"):
        left.do("patch", patch={"environments": {"prod": {"metadata": {"release": release}}}})
    stage.read(answer(left, metadata={"release": "old"}))


def is_acknowledged_and_not_shown(stage: Stage) -> None:
    left, right = stage.two()
    change = left.do("patch", key="kim/1", **described("edited"))
    stage.acknowledged(acknowledged(change, key="kim/1", slot=right.name))


def writes_without_what_was_read(stage: Stage) -> None:
    left, right = stage.two()
    seen = left.do("patch", **described("seen"))
    change = right.do("patch", key="kim/1", **described("edited"))
    right.take(seen)
    token = dict(left.replica.vv)
    stage.acknowledged(
        acknowledged(change, key="kim/1", slot=right.name, needed=token, token=dict(right.replica.vv))
    )


def reads_without_a_token(stage: Stage) -> None:
    left, right = stage.two()
    left.do("patch", **described("later"))
    stage.read(answer(left))
    stage.read(answer(right))


# -- P7


def half_of_it(stage: Stage) -> None:
    left, right = stage.two()
    change = left.set(
        {"op": "add_tag", "flag": "f", "tag": "x"}, {"op": "kill", "flag": "f", "environment": "prod"}
    )
    right.replica.apply(change)
    del right.replica.objects["flag/f"][0, 0]["kill/prod"]
    right.tell_advanced()


def half_of_it_is_served(stage: Stage) -> None:
    left, right = stage.two()
    right.take(left.create("g"))
    change = left.set(
        *({"op": "patch", "flag": f, "patch": {"environments": {"prod": {"default": "off"}}}} for f in "fg")
    )
    before = right.project.flag_set("prod").flags["g"]
    right.replica.apply(change)
    right.project.refresh([change])
    right.project.flag_set("prod").replace_flag("g", before)
    right.tell_advanced()


def what_it_replaced_is_still_there(stage: Stage) -> None:
    left, right = stage.two()
    change = right.do("patch", **described("replaces"))
    left.replica.apply(change)
    put(left, "description", unsee)
    left.tell_advanced()


def more_than_it_has(stage: Stage) -> None:
    left, right = stage.two()
    change = left.do("patch", **described("once"))
    later = left.do("patch", **described("twice"))
    right.replica.apply(change)
    put(right, "description", lambda flat: flat.__setitem__(1, later.seq))
    right.tell_advanced()


def release(node: Node, *flags: str, mark: str) -> Change:
    """Both flags of the pair get the same release, or only one of them does."""
    patch = {"environments": {e: {"metadata": {"release": mark}} for e in ("dev", "prod")}}
    return node.set(*({"op": "patch", "flag": flag, "patch": patch} for flag in flags))


def both_of_the_pair(stage: Stage) -> None:
    node = stage.node("eu-1")
    node.set(*({"op": "create", "flag": flag, "value": flag_body("fresh")} for flag in PAIR))
    release(node, *PAIR, mark="one")


def one_of_the_pair(stage: Stage) -> None:
    both_of_the_pair(stage)
    release(stage.nodes["eu-1"], PAIR[0], mark="two")


def reads_half_of_the_pair(stage: Stage) -> None:
    both_of_the_pair(stage)
    node = stage.nodes["eu-1"]
    for flag, shown in zip(PAIR, ("one", "two"), strict=True):
        stage.read(replace(answer(node), flag=flag, metadata={"release": shown}))


# -- P10


def collects(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("add_tag", tag="x")
    left.do("remove_tag", tag="x")
    left.collect()


def collects_a_value(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("add_tag", tag="x")
    left.do("remove_tag", tag="x")
    left.collect(spoil=lambda: put(left, "description", list.clear))


def collects_a_value_for_another(stage: Stage) -> None:
    """Of the size that the flag had after the collection before."""
    left, _ = stage.two()
    left.do("patch", **described("edited"))
    for tag, said in (("x", "edited"), ("y", "spoilt")):
        left.do("add_tag", tag=tag)
        left.do("remove_tag", tag=tag)
        left.collect(spoil=partial(left.say_otherwise, "description", "edited", said))


def collects_nothing(stage: Stage) -> None:
    """The flag is as large as it was."""
    left, _ = stage.two()
    stage.watcher.collected(left.slot, left.project)


def collects_what_is_served(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("add_tag", tag="x")
    left.do("remove_tag", tag="x")
    left.collect(spoil=lambda: put(left, "env/prod/default", list.clear))


# -- P12


def cannot_be_read(stage: Stage) -> None:
    left, _ = stage.two()
    (generation,) = left.replica.cells("flag/f")
    left.replica.objects["flag/f"][generation]["description"] = b"\xc1"
    stage.checkpoint()


def defect(stage: Stage) -> None:
    stage.watcher.alarm(stage.node("eu-1").slot, "defect", PROJECT)


def dies(stage: Stage) -> None:
    stage.watcher.died(stage.node("eu-1").slot, RuntimeError("ours"))


# -- P14


def other_documents(stage: Stage) -> None:
    left, right = stage.two()
    change = left.do("patch", **described("edited"))
    served = right.project.flag_set("prod")
    right.replica.apply(change)
    right.project.refresh([change])
    served.replace_flag("f", {**served.flags["f"], "default": "off"})
    right.tell_advanced()


# -- P15


def bad_object(stage: Stage, *, spoil: Callable[[Node], object] = lambda _: None) -> None:
    left, right = stage.two()
    right.take(left.create("g"))
    bad = junk.unreadable_change(left.replica, "f", Random(3))
    for node in (left, right):
        node.replica.apply(bad)
        stage.watcher.applied(node.slot, node.project, bad, local=False)
        node.project.refresh([bad])
        spoil(node)
        node.tell_advanced()
    stage.settle()


def bad_object_harms_another(stage: Stage) -> None:
    def spoil(node: Node) -> None:
        node.project.flag_set("prod").replace_flag("g", None)

    bad_object(stage, spoil=spoil)


def bad_object_is_dropped(stage: Stage) -> None:
    bad_object(stage)
    (bad,) = (c for c in stage.history.changes[PROJECT].values() if c.author == junk.AUTHOR)
    del stage.nodes["us-1"].replica.vv[bad.incarnation]
    stage.settle()
