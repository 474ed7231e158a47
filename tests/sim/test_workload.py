"""What clients of each role do on a small cluster, what the history keeps of it, and that operations stand alone.

The clusters are sound unless a test breaks something by hand; the checkers look on, so a violation fails every test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from vexil.chaos.checkers import catalogue
from vexil.chaos.checkers.checker import Checker
from vexil.chaos.clients import operations, workload
from vexil.chaos.clients.operations import CONTESTED, KINDS, PAIR, PROJECT, READS
from vexil.chaos.faults.fault import KINDS as FAULTS
from vexil.chaos.faults.fault import End, World, nothing_to_undo
from vexil.chaos.planted.bugs import retry_writes_again, token_ignored
from vexil.chaos.planted.rules import rule_01_old_view_accepted
from vexil.chaos.run.history import Outcome, Read, Write
from vexil.chaos.run.plan import Client, Fault, Operation, Plan
from vexil.chaos.run.simulation import Report, run_plan
from vexil.chaos.run.swarm import plan
from vexil.chaos.world.simulated_cluster import ClusterFaults
from vexil.chaos.world.simulated_network import NetworkFaults

LAYOUT = {"eu": 2, "us": 1}


def run(
    clients: Sequence[Client],
    wanted: Sequence[Operation],
    *,
    layout: dict[str, int] | None = None,
    faults: tuple[Fault, ...] = (),
    network: NetworkFaults | None = None,
    work_s: float = 20.0,
    sound: bool = True,
) -> Report:
    """``sound``: nothing is planted, so nothing may be violated."""
    report = run_plan(
        Plan(
            seed=7,
            layout=layout or LAYOUT,
            work_s=work_s,
            world=ClusterFaults(network=network or NetworkFaults()),
            faults=faults,
            clients=tuple(clients),
            operations=tuple(wanted),
        )
    )
    assert not (sound and report.violations), report
    return report


def in_turn(client: str, *kinds: str, flag: str = "a", every_s: float = 0.5) -> list[Operation]:
    return [Operation(n, client, n * every_s, kind, flag, "prod") for n, kind in enumerate(kinds, 1)]


def covers(vector: object, dot: tuple[int, int] | None) -> bool:
    assert isinstance(vector, dict)
    assert dot is not None
    return bool(vector.get(dot[0], 0) >= dot[1])


# -- admins


def test_a_node_has_an_answer_to_every_kind_of_write() -> None:
    kinds = [kind for kind in KINDS if kind not in READS]
    wanted = [
        Operation(
            n, "kim", n * 0.2, kind, operations.SEGMENTS[0] if kind.startswith("segment") else "a", "prod"
        )
        for n, kind in enumerate([*kinds, *kinds, *kinds], 1)
    ]
    report = run([Client("kim", "eu", impatient=0, demanding=0)], wanted)
    outcomes = Counter((wanted[w.number - 1].kind, w.outcome) for w in report.history.writes)
    assert len(report.history.writes) == len(wanted)
    assert Outcome.UNKNOWN not in {outcome for _, outcome in outcomes}
    refused = {w.attempts[-1].answer for w in report.history.writes if w.outcome is Outcome.REFUSED}
    assert refused <= {"flag.exists", "flag.not_found", "flag.invalid", "variant.in_use", "segment.not_found"}
    written = {kind for kind, outcome in outcomes if outcome is Outcome.ACKNOWLEDGED}
    assert written >= set(kinds) - {"resolve", "create", "unrule", "untag", "unkill"}, "one client alone"


def test_what_is_acknowledged_is_in_the_history_with_what_its_author_had_seen() -> None:
    report = run([Client("kim", "eu")], in_turn("kim", "patch", "kill", "tag", "pair", "metadata"))
    for write in report.history.writes:
        if write.outcome is not Outcome.ACKNOWLEDGED:
            continue
        assert write.dot is not None
        change = report.history.changes[PROJECT][write.dot]
        assert change.idempotency is not None
        assert change.idempotency[0] == write.key
        assert not covers(report.history.authored_on[PROJECT, write.key, write.dot[0]], write.dot)
        assert covers(write.token, write.dot)
        assert write.acknowledged_s == write.attempts[-1].ended_s
        assert write.attempts[-1].answer == "ok"
    assert report.acknowledged >= 4


def two_who_do_not_look_again(*, sound: bool = True) -> Report:
    """Two people edit one flag under an ``If-Match`` which they have read a while before."""
    clients = [
        Client(name, region, roaming=1, demanding=0) for name, region in (("kim", "eu"), ("lee", "us"))
    ]
    wanted = [
        Operation(n, ("kim", "lee")[n % 2], n * 0.15, "create" if n % 10 == 0 else "stale", "a", "prod")
        for n in range(1, 100)
    ]
    return run(clients, wanted, sound=sound)


def test_a_condition_that_was_read_elsewhere_is_kept_and_is_refused_when_it_is_no_longer_true() -> None:
    report = two_who_do_not_look_again()
    kinds = {operation.number: operation.kind for operation in report.plan.operations}
    answers = Counter[str]()
    for write in report.history.writes:
        assert (write.condition is not None) == (kinds[write.number] == "stale")
        answers[write.attempts[-1].answer] += write.condition is not None
    assert answers["ok"] >= 10
    assert answers["flag.stale"] >= 3


def test_an_old_condition_is_taken_where_the_rule_is_switched_off() -> None:
    with rule_01_old_view_accepted.SWITCH.apply():
        report = two_who_do_not_look_again(sound=False)
    assert "flag.stale" not in {write.attempts[-1].answer for write in report.history.writes}
    assert {violation.invariant for violation in report.violations} == {"P13"}


# -- sessions


SESSION = Client("app", "eu", "session", roaming=1, impatient=0, demanding=0, token_wait_ms=2_000)
KILL_AND_READ = [
    Operation(0, "app", 0, kind, flag, environment)
    for flag in CONTESTED
    for environment in operations.ENVIRONMENTS
    for kind in ("kill", "read")
]
SLOW = NetworkFaults(remote_ms_min=150, remote_ms_max=250)


def run_of_a_session(*, sound: bool = True) -> Report:
    wanted = [replace(each, number=n, at_s=n * 0.05) for n, each in enumerate(KILL_AND_READ, 1)]
    return run([SESSION], wanted, layout={"eu": 1, "us": 1}, network=SLOW, sound=sound)


def test_a_session_reads_at_another_node_what_it_has_just_written() -> None:
    history = run_of_a_session().history
    assert len(history.reads) == len(history.writes) == len(CONTESTED) * 2
    for write, read in zip(history.writes, history.reads, strict=True):
        assert write.outcome is Outcome.ACKNOWLEDGED
        assert write.slot != read.slot, "it moves"
        assert (read.answer, read.reason, read.variant) == ("ok", "DISABLED", "off")
        assert read.needed == write.token
        assert all(read.token.get(incarnation, 0) >= seq for incarnation, seq in read.needed.items())
    for read, write in zip(history.reads, history.writes[1:], strict=False):
        assert write.needed == read.token
        assert write.slot != read.slot


def test_without_the_wait_for_its_token_a_session_would_read_what_was_before() -> None:
    with token_ignored.BUG.apply():
        report = run_of_a_session(sound=False)
    assert "STATIC" in {read.reason for read in report.history.reads}
    assert {violation.invariant for violation in report.violations} == {"P6"}


def test_a_node_that_stays_behind_the_token_gives_a_session_no_value_and_takes_no_write() -> None:
    report = run(
        [replace(SESSION, token_wait_ms=300)],
        in_turn("app", "kill", "read", "tag", every_s=0.2),
        layout={"eu": 1, "us": 1},
        faults=(Fault(1, "cut", 0, ("eu", "us"), 30),),
        work_s=8,
    )
    stale = [read for read in report.history.reads if read.answer == "stale"]
    assert stale
    assert all(read.value is None and read.variant is None for read in stale)
    assert {read.answer for read in report.history.reads} == {"stale", "ok"}, (
        "where it has written it can read"
    )
    last = report.history.writes[-1]
    assert "token.behind" in {attempt.answer for attempt in last.attempts}
    assert last.outcome is Outcome.ACKNOWLEDGED
    assert covers(last.needed, report.history.writes[0].dot)


# -- readers


def test_a_reader_asks_the_nodes_of_its_region_without_a_token_and_keeps_what_it_saw() -> None:
    client = Client("tv", "eu", "reader", roaming=1)
    report = run([client], in_turn("tv", *(["read", "read_all"] * 6)))
    reads = report.history.reads
    assert {read.slot for read in reads} == {"eu-1", "eu-2"}
    assert not any(read.needed for read in reads)
    assert {(read.value, read.variant, read.reason, read.answer) for read in reads} == {
        (True, "on", "STATIC", "ok")
    }
    assert all(read.token for read in reads)
    assert {read.context for read in reads} <= set(operations.PEOPLE)
    at_once = Counter((read.number, read.began_s) for read in reads)
    assert sorted(at_once.values()) == [1] * 6 + [len(CONTESTED) + len(PAIR)] * 6


def test_a_reader_hears_nothing_while_its_region_is_down() -> None:
    report = run(
        [Client("tv", "us", "reader", roaming=1)],
        in_turn("tv", *["read"] * 20, every_s=0.1),
        faults=(Fault(1, "crash", 0.05, ("us-1",)),),
        work_s=5,
    )
    answers = {read.answer for read in report.history.reads}
    assert "none" in answers
    assert {read.slot for read in report.history.reads} <= {"us-1", ""}


def test_what_is_read_in_one_request_is_of_one_moment() -> None:
    clients = [Client("tv", "us", "reader"), Client("kim", "eu", demanding=0)]
    wanted = [
        Operation(n, ("kim", "tv")[n % 2], n * 0.1, ("pair", "read_all")[n % 2], "pair-1", "prod")
        for n in range(1, 60)
    ]
    releases = Counter[bool]()
    first: object = None
    for read in run(clients, wanted).history.reads:
        if read.flag == PAIR[0]:
            first = read.metadata.get("release")
        elif read.flag == PAIR[1]:
            assert read.metadata.get("release") == first
            releases[first is not None] += 1
    assert releases[True] > 10


# -- scripts


SCRIPT = Client("ci", "eu", "script", roaming=1, impatient=0.3, demanding=0)
EDITS = in_turn("ci", *(["tag", "untag", "pair", "metadata"] * 4), every_s=1)


def test_a_script_sends_each_key_again_and_again_and_every_answer_names_one_change() -> None:
    report = run([SCRIPT], EDITS)
    keys = Counter(
        change.idempotency[0] for change in report.history.changes[PROJECT].values() if change.idempotency
    )
    done = [write for write in report.history.writes if write.outcome is Outcome.ACKNOWLEDGED]
    assert len(done) >= 8
    for write in done:
        first, second = write.attempts[:2]
        assert (first.began_s, first.slot) == (second.began_s, second.slot), "twice at once"
        assert len(write.attempts) > 2, "and after the success"
        assert {attempt.answer for attempt in write.attempts} <= {"ok", "none"}
        assert keys[write.key] == 1
    assert any(attempt.slot != write.attempts[0].slot for write in done for attempt in write.attempts)


def test_a_script_notices_that_a_key_has_become_two_changes() -> None:
    with retry_writes_again.BUG.apply(), pytest.raises(AssertionError, match="P13"):
        run([SCRIPT], EDITS)


# -- herds


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.reads: list[Read] = []
        self.writes: list[Write] = []

    def read(self, read: Read) -> None:
        self.reads.append(read)

    def written(self, write: Write) -> None:
        self.writes.append(write)


def test_a_herd_asks_one_node_at_once_and_everything_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()

    async def begin(world: World, fault: Fault, rng: Random) -> End | None:
        slot = world.cluster.slots[fault.places[0]]
        await workload.herd(world.cluster, world.history, told, slot, rng, int(fault.amount))
        return nothing_to_undo

    monkeypatch.setitem(FAULTS, "herd", replace(FAULTS["herd"], begin=begin))
    history = run([], [], faults=(Fault(1, "herd", 1, ("eu-1",), amount=60),), work_s=5).history
    assert len(told.reads) + len(told.writes) == 60
    assert len(told.reads) > 20
    assert len(told.writes) > 5
    assert {read.slot for read in told.reads} | {write.slot for write in told.writes} == {"eu-1"}
    assert {attempt.began_s for write in told.writes for attempt in write.attempts} == {told.reads[0].began_s}
    assert Counter(write.outcome for write in told.writes)[Outcome.ACKNOWLEDGED] == len(told.writes)
    assert history.reads == told.reads
    assert {write.key for write in history.writes} == {write.key for write in told.writes}


def test_checkers_are_told_of_every_read_and_of_every_write_whose_outcome_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told()

    class Ear(Checker):
        """A checker that only listens."""

        invariant, claim = "P0", "is told"
        read, written = staticmethod(told.read), staticmethod(told.written)

    monkeypatch.setattr(catalogue, "CHECKERS", (*catalogue.CHECKERS, Ear))
    clients = [Client(role, "eu", role) for role in operations.ROLES]
    wanted = [
        Operation(n, clients[n % 4].name, n * 0.1, "read" if n % 4 == 2 else "kill", "a", "prod")
        for n in range(1, 40)
    ]
    history = run(clients, wanted).history
    assert history.reads == told.reads
    assert len(history.reads) == 10
    known = [write for write in history.writes if write.outcome is not Outcome.UNKNOWN]
    assert {write.key for write in known} == {write.key for write in told.writes}
    assert len(known) == 29


# -- the load of a plan


def test_mixes_of_clients_differ_by_seed_and_a_run_has_about_as_many_reads_as_writes() -> None:
    plans = [plan(seed) for seed in range(200)]
    mixes = Counter(frozenset(client.role for client in chosen.clients) for chosen in plans)
    assert set(mixes) >= {
        frozenset(("admin",)),
        frozenset(("admin", "reader")),
        frozenset(("session",)),
        frozenset(("admin", "session", "reader", "script")),
    }
    kinds = Counter(operation.kind for chosen in plans for operation in chosen.operations)
    assert set(kinds) == set(KINDS)
    reads = sum(kinds[kind] for kind in READS)
    assert 0.6 < reads / (kinds.total() - reads) < 1.2
    for chosen in plans:
        names = {client.name for client in chosen.clients}
        assert [operation.number for operation in chosen.operations] == [
            *range(1, len(chosen.operations) + 1)
        ]
        assert all(operation.client in names for operation in chosen.operations)
        assert list(chosen.operations) == sorted(chosen.operations, key=lambda operation: operation.at_s)
        assert all(0 <= operation.at_s <= chosen.work_s for operation in chosen.operations)


def asked(report: Report) -> dict[int, object]:
    """What was asked for by the operation of each number; reads by what and for whom."""
    found: dict[int, object] = {write.number: write.what for write in report.history.writes}
    for read in report.history.reads:
        found[read.number] = (read.environment, read.context)
    return found


@pytest.mark.parametrize("seed", [0, 8, 10])
def test_an_operation_asks_for_the_same_whatever_else_is_in_the_plan(seed: int) -> None:
    whole = plan(seed)
    part = replace(whole, operations=whole.operations[::2], faults=whole.faults[::2])
    of_whole, of_part = asked(run_plan(whole)), asked(run_plan(part))
    common = of_whole.keys() & of_part.keys()
    assert len(common) > len(part.operations) / 4
    assert {number: of_whole[number] for number in common} == {number: of_part[number] for number in common}
