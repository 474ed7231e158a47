"""Every checker fails where its invariant is broken, passes where it holds, and does not know where nothing happened.

A checker that cannot fail is worth nothing: for each way to be wrong that it knows there is a history here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.sim.checked import changes, clusters, followers, histories, shown
from tests.sim.checked.histories import Play
from tests.sim.checked.stage import Stage
from vexil.chaos.checkers.catalogue import CHECKERS
from vexil.chaos.checkers.checker import Checker, Checkers, Verdict, Wait
from vexil.chaos.checkers.p01_applied_once import AppliedOnce
from vexil.chaos.checkers.p02_equal_vectors import EqualVectors
from vexil.chaos.checkers.p03_acknowledged_is_kept import AcknowledgedIsKept
from vexil.chaos.checkers.p03_evicted_are_fenced import EvictedAreFenced
from vexil.chaos.checkers.p04_nothing_comes_back import NothingComesBack
from vexil.chaos.checkers.p05_kills_hold import KillsHold
from vexil.chaos.checkers.p06_sessions import Sessions
from vexil.chaos.checkers.p07_all_or_nothing import AllOrNothing
from vexil.chaos.checkers.p08_silence import Silence
from vexil.chaos.checkers.p09_convergence import Convergence
from vexil.chaos.checkers.p10_garbage_is_invisible import GarbageIsInvisible
from vexil.chaos.checkers.p11_dots_are_unique import DotsAreUnique
from vexil.chaos.checkers.p12_total import Total
from vexil.chaos.checkers.p13_conditions import Conditions
from vexil.chaos.checkers.p13_event_graph import AsTheGraphSays
from vexil.chaos.checkers.p13_stamps import Stamps
from vexil.chaos.checkers.p14_same_variant import SameVariant
from vexil.chaos.checkers.p15_one_bad_object import OneBadObject
from vexil.chaos.checkers.p16_same_trace import Told, difference
from vexil.chaos.checkers.p17_honest_about_age import HonestAboutAge
from vexil.chaos.checkers.p18_spread import Spread
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.plan import Fault


@dataclass(frozen=True)
class Case:
    kind: type[Checker]
    fails: Sequence[Play]
    passes: Sequence[Play]
    unknown: Sequence[Play] = (histories.nothing,)


CASES = (
    Case(
        AppliedOnce,
        (
            changes.applied_again,
            changes.applied_again_after_a_start,
            changes.applied_again_after_it_was_forgotten,
        ),
        (histories.exchange,),
    ),
    Case(
        EqualVectors,
        (changes.other_root, changes.other_bytes, changes.served_from_elsewhere, changes.divergence),
        (histories.exchange,),
    ),
    Case(
        AcknowledgedIsKept,
        (
            changes.never_got_it,
            changes.lost_by_all,
            changes.lost_with("us-1", durability="peer"),
            changes.lost_with("us-1", "eu-1", durability="region"),
            changes.lost_with("eu-1", durability="node"),
            changes.lost_with("us-1-50", "us-1", durability="peer"),
            changes.lost_with("eu-1", "us-1", durability="peer", at_s=-1.0),
            changes.lost_with("us-1", durability="peer", ended_s=4.0),
            changes.struck_and_not_lost,
            changes.lost_and_said_again,
            changes.lost_and_written_again,
            changes.never_written,
            changes.refused_and_written,
            changes.written_twice,
            changes.effect_before_cause,
            changes.gap,
            changes.put_aside,
        ),
        (
            changes.edited_and_settled,
            changes.issued_again,
            changes.lost_with("us-1", durability="node"),
            changes.lost_with("us-1", "eu-1", durability="peer"),
            changes.lost_with("us-1", durability="peer", ended_s=2.0),
            changes.of_an_ended_registration_and_said_again,
            changes.of_an_ended_registration_and_written_again,
        ),
        (histories.nothing, histories.exchange),
    ),
    Case(
        EvictedAreFenced,
        (changes.taken_of_an_evicted_one,),
        (
            changes.under_way_through_others,
            changes.under_way_through_one_with_a_snapshot,
            changes.judged_before_it_was_known,
        ),
        (histories.nothing, histories.exchange, changes.taken_of_one_that_was_there_twice),
    ),
    Case(
        NothingComesBack,
        (changes.tag_comes_back, changes.replaced_is_live),
        (changes.deleted_and_edited_at_once,),
        (histories.nothing, histories.exchange),
    ),
    Case(
        KillsHold,
        (shown.shown_in_spite_of_a_kill, followers.has_it_on_in_spite_of_a_kill),
        (shown.killed_and_unkilled, followers.has_it_off_after_a_kill),
        (histories.nothing, histories.exchange),
    ),
    Case(
        Sessions,
        (
            shown.reads_less_than_the_token,
            shown.reads_backwards,
            shown.reads_what_nobody_wrote,
            shown.reads_a_flag_that_is_not_there,
            shown.reads_on_beside_its_kill,
            shown.reads_an_older_release,
            shown.is_acknowledged_and_not_shown,
            shown.writes_without_what_was_read,
            followers.goes_back,
            followers.has_missed_an_edit,
            followers.lacks_what_its_node_has,
        ),
        (shown.reads_under_a_token, shown.reads_without_a_token, followers.follows_an_edit),
        (histories.nothing, histories.exchange),
    ),
    Case(
        AllOrNothing,
        (
            shown.half_of_it,
            shown.half_of_it_is_served,
            shown.what_it_replaced_is_still_there,
            shown.more_than_it_has,
            shown.one_of_the_pair,
            shown.reads_half_of_the_pair,
        ),
        (histories.exchange, shown.both_of_the_pair),
        (),
    ),
    Case(
        Silence,
        (clusters.sends_in_the_calm, clusters.writes_in_the_calm, clusters.is_never_tidy),
        (clusters.quiet,),
        (histories.nothing, histories.exchange),
    ),
    Case(
        Convergence,
        tuple(map(clusters.too_late, (Wait.SET_UP, Wait.READY, Wait.CONVERGED))),
        (clusters.converges,),
        (histories.nothing, histories.exchange),
    ),
    Case(
        GarbageIsInvisible,
        (shown.collects_a_value, shown.collects_what_is_served, shown.collects_a_value_for_another),
        (shown.collects,),
        (histories.nothing, histories.exchange, shown.collects_nothing),
    ),
    Case(
        DotsAreUnique,
        (
            changes.two_changes_of_one_dot,
            changes.two_in_the_journal,
            changes.two_processes_of_one_name,
            changes.fork,
            changes.keeps_a_name_that_others_go_by,
            changes.keeps_that_name_to_the_end,
        ),
        (histories.exchange,),
        (lambda _: None,),
    ),
    Case(Total, (shown.cannot_be_read, shown.defect, shown.dies), (histories.exchange,)),
    Case(
        AsTheGraphSays,
        (
            changes.wrong_winner,
            changes.forgotten_write,
            changes.said_to_have_seen_less,
            changes.said_to_another_checker_first,
            changes.said_before_a_fork,
            changes.nobody_wrote_it,
            changes.one_write_two_changes,
        ),
        (histories.exchange,),
        (lambda _: None,),
    ),
    Case(
        Conditions,
        (changes.replaces_what_was_not_seen,),
        (changes.replaces_what_was_seen,),
        (histories.nothing, histories.exchange, changes.edited_and_settled),
    ),
    Case(Stamps, (changes.stamped_below, changes.stamped_by_a_wrong_clock), (histories.exchange,)),
    Case(
        SameVariant,
        (shown.other_documents, followers.answers_otherwise),
        (histories.exchange, followers.follows_an_edit),
    ),
    Case(
        OneBadObject,
        (shown.bad_object_harms_another, shown.bad_object_is_dropped),
        (shown.bad_object,),
        (histories.nothing, histories.exchange),
    ),
    Case(
        HonestAboutAge,
        (
            followers.is_cut_off_and_feels_well,
            followers.hears_again_and_had_felt_well,
            followers.is_stale_since_too_late,
            followers.does_not_get_well,
        ),
        (followers.is_cut_off_and_says_so, followers.has_what_nobody_has_any_more),
        (histories.nothing, histories.exchange),
    ),
    Case(
        Spread,
        (followers.come_back_at_once, followers.come_back_at_once_and_late),
        (followers.come_back_one_by_one,),
        (histories.nothing, histories.exchange, followers.too_few_to_tell),
    ),
)


def played(case: Case, play: Play) -> Stage:
    stage = Stage(case.kind)
    play(stage)
    return stage


def each(verdict: str) -> Any:
    found = [(case, play) for case in CASES for play in getattr(case, verdict)]
    return pytest.mark.parametrize(
        ("case", "play"), found, ids=[f"{case.kind.__name__}-{play.__name__}" for case, play in found]
    )


@each("fails")
def test_a_checker_fails_where_its_invariant_is_broken(case: Case, play: Play) -> None:
    stage = played(case, play)
    assert stage.checker.verdict is Verdict.FAIL
    assert {violation.invariant for violation in stage.history.violations} == {case.kind.invariant}


@each("passes")
def test_a_checker_passes_where_its_invariant_holds(case: Case, play: Play) -> None:
    stage = played(case, play)
    assert stage.history.violations == []
    assert stage.checker.verdict is Verdict.PASS


@each("unknown")
def test_a_checker_does_not_know_where_there_was_nothing_to_judge(case: Case, play: Play) -> None:
    stage = played(case, play)
    assert stage.history.violations == []
    assert stage.checker.verdict is Verdict.UNKNOWN


def test_every_checker_is_tested_and_makes_a_claim_of_its_own() -> None:
    assert [case.kind for case in CASES] == list(CHECKERS)
    assert len({kind.claim for kind in CHECKERS}) == len(CHECKERS)
    assert [kind.invariant for kind in CHECKERS] == sorted(
        (kind.invariant for kind in CHECKERS), key=lambda name: int(name[1:])
    )


# -- what excuses


def test_an_alarm_that_a_fault_explains_is_none() -> None:
    stage = Stage(DotsAreUnique)
    changes.a_copied_machine(stage)
    assert stage.history.violations == []


def test_an_alarm_before_its_fault_has_struck_is_not_explained() -> None:
    stage = Stage(DotsAreUnique, faults=(Fault(1, "copied_machine", 0.0, ("eu-1", "eu-50")),))
    changes.fork(stage)
    assert stage.history.violations


def test_only_a_copy_and_its_original_may_write_in_one_name() -> None:
    stage = Stage(DotsAreUnique)
    changes.a_copied_machine(stage, places=("ap-1", "ap-50"))
    stage.watcher.applied(
        stage.nodes["us-2"].slot,
        stage.nodes["us-2"].project,
        stage.history.changes[PROJECT][1, 1],
        local=True,
    )
    assert stage.history.violations


def test_states_of_two_pasts_are_not_compared() -> None:
    stage = Stage(EqualVectors)
    left, right = stage.two()
    stage.history.forked.add(left.incarnation)
    change = left.do("patch", **histories.described("edited"))
    right.replica.root += 1
    right.take(change)
    assert stage.history.violations == []


# -- P16


def test_equal_traces_have_no_difference() -> None:
    assert difference(Told("a", ["x\n"]), Told("a", ["x\n"])) is None


def test_the_first_line_that_differs_is_named() -> None:
    told = difference(Told("a", ["x\n", "y\n"]), Told("b", ["x\n", "z\n"]))
    assert told is not None
    assert "line 2" in told
    assert "'z'" in told


def test_traces_that_were_not_kept_differ_by_their_hash() -> None:
    assert "P16" in (difference(Told("a"), Told("b")) or "")


# -- several of one invariant


def test_the_verdict_on_an_invariant_is_that_of_all_its_checkers() -> None:
    stage = Stage(AsTheGraphSays)
    stamps = Stage(Stamps)
    assert Checkers([stage.checker, stamps.checker]).verdicts == {"P13": Verdict.UNKNOWN}
    histories.exchange(stage)
    assert Checkers([stage.checker, stamps.checker]).verdicts == {"P13": Verdict.PASS}
    changes.stamped_below(stamps)
    assert Checkers([stage.checker, stamps.checker]).verdicts == {"P13": Verdict.FAIL}
