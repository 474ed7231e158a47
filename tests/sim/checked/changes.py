"""Histories about changes: applied twice, lost, forgotten, brought back, under one name (P1 to P4, P11, P13)."""

from __future__ import annotations

from dataclasses import replace

from tests.sim.checked.histories import Play, acknowledged, described, edit, put, unsee
from tests.sim.checked.stage import Node, Stage
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.history import Attempt, Destruction, Outcome, Window, Write
from vexil.chaos.run.plan import Fault
from vexil.crdt.hlc import pack

YEAR_MS = 365 * 24 * 3600 * 1000

# -- P1


def applied_again(stage: Stage) -> None:
    left, right = stage.two()
    stage.watcher.applied(
        right.slot, right.project, stage.history.changes[PROJECT][left.incarnation, 1], local=False
    )


def applied_again_after_it_was_forgotten(stage: Stage) -> None:
    left, right = stage.two()
    del right.replica.vv[left.incarnation]
    right.tell_advanced()
    stage.watcher.applied(
        right.slot, right.project, stage.history.changes[PROJECT][left.incarnation, 1], local=False
    )


def applied_again_after_a_start(stage: Stage) -> None:
    _, right = stage.two()
    change = right.do("patch", **described("own"))
    stage.start(right)
    stage.watcher.applied(right.slot, right.project, change, local=True)


# -- P2


def other_root(stage: Stage) -> None:
    left, right = stage.two()
    change = left.do("patch", **described("edited"))
    right.replica.root += 1
    right.take(change)


def other_bytes(stage: Stage) -> None:
    _, right = stage.two()
    put(right, "description", lambda flat: flat.__setitem__(2, flat[2] + 1))
    stage.settle()


def served_from_elsewhere(stage: Stage) -> None:
    left, _ = stage.two()
    flags = left.project.flag_set("prod")
    flags.replace_flag("f", {**flags.flags["f"], "default": "off"})
    stage.settle()


def divergence(stage: Stage) -> None:
    left, _ = stage.two()
    stage.watcher.alarm(left.slot, "divergence", PROJECT)


# -- P3


def edited_and_settled(stage: Stage) -> None:
    edit(stage)
    stage.settle()


def never_got_it(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("patch", **described("edited"))
    stage.settle()


def lost_by_all(stage: Stage, *, durability: str = "node") -> None:
    _, right, _ = edit(stage)
    lonely = right.do("patch", key="kim/2", **described("lost"))
    stage.acknowledged(acknowledged(lonely, key="kim/2", durability=durability))
    del right.replica.vv[right.incarnation]
    stage.settle()


LOST_S = 3.0
"""When the disks of these histories are destroyed."""


def lost_with(*disks: str, durability: str, ended_s: float | None = None, at_s: float = LOST_S) -> Play:
    """It was on no other disk than those that were lost; a copy is called like its original, with a number more."""

    def play(stage: Stage) -> None:
        stage.history.destroyed[PROJECT] = {(2, 1)}
        for disk in disks:
            last = disk == disks[-1]
            stage.history.destructions.append(
                Destruction(
                    LOST_S if last else at_s,
                    disk,
                    disk[: len("us-1")],
                    {PROJECT: frozenset({(2, 1)})} if last else {},
                )
            )
        if ended_s is not None:
            stage.history.ended["us-1", ""] = ended_s
        lost_by_all(stage, durability=durability)

    play.__name__ = f"lost_with_{'_'.join(disks)}_as_{durability}_{ended_s}_{at_s}"
    return play


def struck_and_not_lost(stage: Stage) -> None:
    """A fault has looked at the disk of its author, such as an old copy that was never put back: that took nothing."""
    stage.history.windows.append(Window(Fault(1, "disk_old_copy", 0.0, ("us-1",)), 0.0))
    lost_with("eu-1", durability="node")(stage)


def issued_again(stage: Stage) -> None:
    left, right, _ = edit(stage)
    lonely = right.do("patch", **described("alone"))
    del right.replica.vv[right.incarnation]
    made = f"return/{lonely.id}/{lonely.chain.hex()[:16]}"
    right.take(left.do("patch", key=made, **described("alone")))
    stage.settle()


def lost_and_said_again(stage: Stage, *, key: str = "", ended: bool = False) -> None:
    """Nobody has a change any more, and somebody else has said the same, with or without its key."""
    left, right, _ = edit(stage)
    right.do("patch", key=key, **described("alone"))
    del right.replica.vv[right.incarnation]
    right.take(left.do("patch", key=key, **described("alone")))
    if ended:
        stage.history.ended["us-1", ""] = 0.5
    stage.settle()


def lost_and_written_again(stage: Stage) -> None:
    lost_and_said_again(stage, key="kim/2")


def of_an_ended_registration_and_said_again(stage: Stage) -> None:
    lost_and_said_again(stage, ended=True)


def of_an_ended_registration_and_written_again(stage: Stage) -> None:
    lost_and_said_again(stage, key="kim/2", ended=True)


def never_written(stage: Stage) -> None:
    _, _, change = edit(stage)
    stage.acknowledged(acknowledged(replace(change, seq=7), key="kim/9"))
    stage.settle()


def refused_and_written(stage: Stage) -> None:
    left, right = stage.two()
    right.take(left.do("patch", key="kim/1", **described("edited")))
    attempts = [Attempt("eu-1", 0.0, 0.0, "flag.invalid")]
    stage.acknowledged(Write("kim/1", "patch", "kim", outcome=Outcome.REFUSED, attempts=attempts))
    stage.settle()


def written_twice(stage: Stage) -> None:
    left, right, _ = edit(stage)
    left.take(right.do("patch", key="kim/1", **described("again")))
    stage.settle()


def effect_before_cause(stage: Stage) -> None:
    left, right = stage.two()
    left.do("patch", **described("cause"))
    third = stage.node("ap-1", incarnation=9)
    for change in stage.history.changes[PROJECT].copy().values():
        third.take(change)
    stage.watcher.applied(right.slot, right.project, third.do("patch", **described("effect")), local=False)


def gap(stage: Stage) -> None:
    left, right = stage.two()
    left.do("patch", **described("missing"))
    stage.watcher.applied(right.slot, right.project, left.do("patch", **described("next")), local=False)


def put_aside(stage: Stage) -> None:
    stage.watcher.alarm(stage.node("eu-1").slot, "aside", "overclaim")


def taken_of_an_evicted_one(stage: Stage) -> None:
    left, right = stage.two()
    change = left.do("patch", **described("alone"))
    right.hear_of_eviction(left)
    stage.now_s += 2
    right.take(change)


def under_way_through_others(stage: Stage) -> None:
    left, right = stage.two()
    third = stage.node("ap-1")
    third.take(*stage.history.changes[PROJECT].values())
    change = left.do("patch", **described("passed on"))
    third.take(change)
    right.hear_of_eviction(left)
    stage.now_s += 2
    right.take(change)


def under_way_through_one_with_a_snapshot(stage: Stage) -> None:
    left, right = stage.two()
    third = stage.node("ap-1")
    change = left.do("patch", **described("passed on"))
    for each in stage.history.changes[PROJECT].values():
        third.replica.apply(each)
    right.hear_of_eviction(left)
    stage.now_s += 2
    right.take(change)


def taken_of_one_that_was_there_twice(stage: Stage) -> None:
    stage.history.harm.append(Fault(1, "copied_machine", 0.0, ("eu-1", "eu-50")))
    taken_of_an_evicted_one(stage)


def judged_before_it_was_known(stage: Stage) -> None:
    left, right = stage.two()
    change = left.do("patch", **described("on its way"))
    right.hear_of_eviction(left)
    stage.now_s += 0.5
    right.take(change)


# -- P4


def tag_comes_back(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("add_tag", tag="x")
    (generation,) = left.replica.cells("flag/f")
    kept = left.replica.cell("flag/f", generation, "tag/x")
    left.do("remove_tag", tag="x")
    left.replica.objects["flag/f"][generation]["tag/x"] = kept
    left.do("patch", **described("later"))


def replaced_is_live(stage: Stage) -> None:
    left, right = stage.two()
    right.take(left.do("patch", **described("first")))
    right.do("patch", **described("second"))
    put(right, "description", unsee)
    stage.checkpoint()


def deleted_and_edited_at_once(stage: Stage) -> None:
    left, right = stage.two()
    gone = left.do("delete")
    left.take(right.do("patch", **described("still wanted")))
    right.take(gone)
    stage.checkpoint()


# -- P11


def two_changes_of_one_dot(stage: Stage) -> None:
    left, right = stage.two()
    left.do("patch", **described("one"))
    twin = stage.node("us-2", incarnation=9)
    assert twin.engine is not None
    twin.take(stage.history.changes[PROJECT][left.incarnation, 1])
    twin.engine.incarnation = left.incarnation
    right.take(twin.do("patch", **described("another")))


def two_in_the_journal(stage: Stage) -> None:
    left, right = stage.two()
    first = left.do("patch", **described("one"))
    raw = replace(first).raw[:-1] + b"\x00"
    stage.checkers.loaded(right.slot, [(PROJECT, *first.dot, raw)])  # type: ignore[list-item]  # a record is a tuple


def two_processes_of_one_name(stage: Stage) -> None:
    left, _ = stage.two()
    left.starts += 1
    stage.start(left)


def fork(stage: Stage) -> None:
    stage.watcher.alarm(stage.node("eu-1").slot, "fork", PROJECT)


def keeps_a_name_that_others_go_by(stage: Stage) -> None:
    left, _ = stage.two()
    _knows_of_a_copy(left)
    stage.checkers.checkpoint(stage.cluster)


def keeps_that_name_to_the_end(stage: Stage) -> None:
    left, _ = stage.two()
    _knows_of_a_copy(left)
    stage.settle()


def _knows_of_a_copy(node: Node) -> None:
    assert node.engine is not None
    node.engine.forks.incarnations.add(node.incarnation)


def a_copied_machine(stage: Stage, *, places: tuple[str, ...] = ("eu-1", "us-2")) -> None:
    stage.history.harm.append(Fault(1, "copied_machine", 0.0, places))
    two_changes_of_one_dot(stage)
    fork(stage)


# -- P13


def wrong_winner(stage: Stage) -> None:
    left, right = stage.two()
    ours, theirs = left.do("patch", **described("left")), right.do("patch", **described("right"))
    left.take(theirs)
    right.take(ours)
    put(right, "description", lambda flat: flat.__setitem__(2, flat[2] + pack(1)))
    right.replica.root = right.replica.recomputed_root()
    stage.checkpoint()


def forgotten_write(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("add_tag", tag="x")
    (generation,) = left.replica.cells("flag/f")
    del left.replica.objects["flag/f"][generation]["tag/x"]
    stage.checkpoint()


def said_to_have_seen_less(stage: Stage) -> None:
    left, _ = stage.two()
    key = (PROJECT, "kim/1", left.incarnation)
    left.do("patch", key="kim/1", **described("edited"))
    stage.history.authored_on[key] = {**stage.history.authored_on[key], 77: 1}
    stage.checkpoint()


def said_to_another_checker_first(stage: Stage) -> None:
    """Another checker asks the graph, and only nodes in a state that is known to be right are looked at then."""
    left, _ = stage.two()
    stage.checkpoint()
    key = (PROJECT, "kim/1", left.incarnation)
    left.do("patch", key="kim/1", **described("edited"))
    stage.history.authored_on[key] = {**stage.history.authored_on[key], 77: 1}
    stage.checker.graph.oracle(PROJECT)
    left.ready = False
    stage.checkpoint()


def said_before_a_fork(stage: Stage) -> None:
    left, right = stage.two()
    key = (PROJECT, "kim/1", left.incarnation)
    left.do("patch", key="kim/1", **described("edited"))
    stage.history.authored_on[key] = {**stage.history.authored_on[key], 77: 1}
    right.do("patch", **described("forked"))
    stage.checker.graph.oracle(PROJECT)
    stage.history.forked.add(right.incarnation)
    stage.checkpoint()


def nobody_wrote_it(stage: Stage) -> None:
    left, _ = stage.two()
    left.replica.vv[77] = 1
    stage.checkpoint()


def one_write_two_changes(stage: Stage) -> None:
    left, right, _ = edit(stage)
    left.take(right.do("patch", key="kim/1", **described("again")))
    stage.checkpoint()


def stamped_below(stage: Stage) -> None:
    left, right = stage.two()
    left.take(right.do("patch", **described("later")))
    left.do("patch", hlc=1, **described("earlier"))


def stamped_by_a_wrong_clock(stage: Stage) -> None:
    left, _ = stage.two()
    left.do("patch", hlc=pack(left.clock.wall_ms() + YEAR_MS), **described("in a year"))


def conditional(stage: Stage, *, seen: bool) -> None:
    """The left node takes a write over what the right one has written, on a view of before it or after it."""
    left, right = stage.two()
    view = dict(left.replica.vv)
    left.take(right.do("patch", **described("meanwhile")))
    change = left.do("patch", key="kim/1", **described("conditional"))
    condition = dict(left.replica.vv) if seen else view
    stage.acknowledged(acknowledged(change, key="kim/1", condition=condition))


def replaces_what_was_not_seen(stage: Stage) -> None:
    conditional(stage, seen=False)


def replaces_what_was_seen(stage: Stage) -> None:
    conditional(stage, seen=True)
