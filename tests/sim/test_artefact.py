"""A run on disk: what was written is what is read, and a bad file is refused in one sentence before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vexil.chaos.reports import artefact as artefacts
from vexil.chaos.reports.artefact import Artefact, BadArtefact, decode, encode, read, write
from vexil.chaos.reports.replay import artefact_of, planting, replay
from vexil.chaos.run import swarm
from vexil.chaos.run.history import Violation
from vexil.chaos.run.plan import Client, Fault, Operation, Plan
from vexil.chaos.run.plan_check import (
    CLIENTS_MAX,
    FAULTS_MAX,
    NODES_MAX,
    OPERATIONS_MAX,
    REGIONS_MAX,
    WORK_S_MAX,
    flaw_of,
)
from vexil.chaos.run.simulation import run_plan
from vexil.chaos.world.simulated_clock import YEAR_MS, ClockFaults

PLAN = Plan(
    seed=7,
    layout={"eu": 2, "us": 1},
    work_s=4.0,
    faults=(
        Fault(1, "cut", 0.5, ("eu", "us"), lasts_s=1.25),
        Fault(2, "clock_step", 1.0, ("eu-2",), lasts_s=1.0, amount=-50),
    ),
    clients=(Client("ann", "eu"), Client("bob", "us", demanding=0.0)),
    operations=(
        Operation(1, "ann", 0.25, "patch", "a", "prod"),
        Operation(2, "bob", 1.5, "kill", "a", "prod"),
    ),
)
ARTEFACT = Artefact(
    PLAN, (Violation("P3", "eu-1 has lost “x”", 12.5),), "0123", "14-gap-skipped", "0.1.0", "by a test"
)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    raw = json.loads(encode(ARTEFACT))
    change(raw)
    return json.dumps(raw).encode()


# -- there and back


def test_an_artefact_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "a.json", Artefact(PLAN))
    write(tmp_path / "a.json", ARTEFACT)
    assert read(tmp_path / "a.json") == ARTEFACT
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("seed", range(50))
def test_the_plan_of_a_seed_is_sound_and_is_read_as_it_was_drawn(seed: int) -> None:
    drawn = swarm.plan(seed)
    assert flaw_of(drawn) == ""
    assert decode(encode(Artefact(drawn))).plan == drawn


def test_a_file_can_be_read_by_people() -> None:
    text = encode(ARTEFACT).decode()
    lines = [line.strip() for line in text.splitlines()]
    assert '{"number": 1, "kind": "cut", "at_s": 0.5, "places": ["eu", "us"], "lasts_s": 1.25},' in lines
    assert (
        '"clients": [{"name": "ann", "region": "eu"}, {"name": "bob", "region": "us", "demanding": 0.0}],'
        in lines
    )
    assert "world" not in text
    assert "knobs" not in text
    assert "“x”" in text
    assert text.endswith("}\n")


def test_a_run_is_repeated_from_its_file_to_the_last_event(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write(path, artefact_of(run_plan(PLAN), found="by a test"))
    again = replay(read(path))
    assert again.same_trace
    assert again.same_violation
    other = replay(replace(read(path), plan=replace(PLAN, seed=8)))
    assert not other.same_trace


# -- bad files

BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not JSON"),
    "text": (b"hello", "not JSON"),
    "cut off": (encode(ARTEFACT)[:-40], "not JSON"),
    "not UTF-8": (b'{"vexil_chaos": "\xff\xfe"}', "not JSON"),
    "too deep": (b"[" * 100_000, "not JSON"),
    "a list": (b"[1, 2]", "no artefact"),
    "other JSON": (b'{"plan": {}}', "no artefact"),
    "another format": (changed(lambda raw: raw.update(vexil_chaos=2)), "format 2"),
    "format as text": (changed(lambda raw: raw.update(vexil_chaos="1")), "format '1'"),
    "no plan": (changed(lambda raw: raw.pop("plan")), "plan"),
    "a wrong type": (changed(lambda raw: raw["plan"].update(seed="7")), "$.plan.seed"),
    "an unknown part": (
        changed(lambda raw: raw["plan"]["faults"][1].update(hardness=3)),
        "faults.1.hardness",
    ),
    "a world that contradicts itself": (
        changed(
            lambda raw: raw["plan"].update(world={"store": {"timeout_lost": 0.8, "timeout_applied": 0.8}})
        ),
        "contradicts itself",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    data, said = BAD[name]
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(BadArtefact) as refused:
        read(path)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadArtefact, match="No such file"):
        read(tmp_path / "none.json")
    write(tmp_path / "a.json", ARTEFACT)
    monkeypatch.setattr(artefacts, "BYTES_MAX", 100)
    with pytest.raises(BadArtefact, match="more than 100 bytes"):
        read(tmp_path / "a.json")


def test_a_bug_that_cannot_be_planted_is_refused_before_anything_runs() -> None:
    with pytest.raises(BadArtefact, match="99-no-such-bug"):
        replay(replace(ARTEFACT, planted="99-no-such-bug"))
    with pytest.raises(BadArtefact), planting("99-no-such-bug"):
        pass


# -- unsound plans

FAULT, OPERATION, CLIENT = PLAN.faults[0], PLAN.operations[0], PLAN.clients[0]
UNSOUND: dict[str, tuple[Plan, str]] = {
    "an unknown kind of fault": (replace(PLAN, faults=(replace(FAULT, kind="meteor"),)), "'meteor'"),
    "an unknown kind of operation": (replace(PLAN, operations=(replace(OPERATION, kind="sing"),)), "'sing'"),
    "an unknown role": (
        replace(PLAN, clients=(*PLAN.clients, replace(CLIENT, name="c", role="king"))),
        "'king'",
    ),
    "a place that is not there": (replace(PLAN, faults=(replace(FAULT, places=("eu", "ap")),)), "'ap'"),
    "a node that is not there": (replace(PLAN, faults=(replace(FAULT, places=("us-2",)),)), "'us-2'"),
    "a client from nowhere": (replace(PLAN, clients=(*PLAN.clients, Client("c", "ap"))), "'ap'"),
    "an operation of nobody": (replace(PLAN, operations=(replace(OPERATION, client="eve"),)), "'eve'"),
    "a clock of nobody": (
        replace(PLAN, world=replace(PLAN.world, clocks={"us-9": ClockFaults()})),
        "'us-9'",
    ),
    "only clocks that are far off": (
        replace(
            PLAN,
            world=replace(PLAN.world, clocks={n: ClockFaults(offset_ms=YEAR_MS) for n in PLAN.nodes}),
        ),
        "every clock",
    ),
    "a fault before the beginning": (replace(PLAN, faults=(replace(FAULT, at_s=-1.0),)), "faults[0].at_s"),
    "a fault that lasts less than nothing": (
        replace(PLAN, faults=(replace(FAULT, lasts_s=-1.0),)),
        "lasts_s",
    ),
    "an operation before the beginning": (
        replace(PLAN, operations=(replace(OPERATION, at_s=-0.5),)),
        "operations[0].at_s",
    ),
    "a negative chance": (
        replace(PLAN, world=replace(PLAN.world, network=replace(PLAN.world.network, slow=-0.1))),
        "network.slow",
    ),
    "no number": (replace(PLAN, faults=(replace(FAULT, amount=float("nan")),)), "amount is nan"),
    "a number beyond all bounds": (replace(PLAN, faults=(replace(FAULT, amount=1e300),)), "amount is 1e+300"),
    "a link with one end": (replace(PLAN, faults=(replace(FAULT, places=("eu",)),)), "names 1 places"),
    "a fault twice": (replace(PLAN, faults=(FAULT, FAULT)), "fault 1 is there twice"),
    "an operation twice": (replace(PLAN, operations=(OPERATION, OPERATION)), "operation 1 is there twice"),
    "a client twice": (replace(PLAN, clients=(*PLAN.clients, CLIENT)), "client ann is there twice"),
    "faults out of order": (replace(PLAN, faults=PLAN.faults[::-1]), "order"),
    "no region": (replace(PLAN, layout={}), "needs a region"),
    "a region without nodes": (replace(PLAN, layout={"eu": 2, "us": 1, "ap": 0}), "each region a node"),
    "no time": (replace(PLAN, work_s=0.0), "takes 0 s"),
    "too much time": (replace(PLAN, work_s=WORK_S_MAX * 2), "at most"),
    "too many nodes": (replace(PLAN, layout={"eu": NODES_MAX, "us": 1}), "nodes are too many"),
    "too many regions": (
        replace(PLAN, layout={f"r{n}": 1 for n in range(REGIONS_MAX + 1)}),
        "regions are too",
    ),
    "too many clients": (replace(PLAN, clients=(CLIENT,) * (CLIENTS_MAX + 1)), "clients are too many"),
    "too many faults": (replace(PLAN, faults=(FAULT,) * (FAULTS_MAX + 1)), "faults are too many"),
    "too many operations": (
        replace(PLAN, operations=(OPERATION,) * (OPERATIONS_MAX + 1)),
        "operations are too",
    ),
    "a seed below nothing": (replace(PLAN, seed=-1), "seed"),
    "a name that is an order to a terminal": (
        replace(PLAN, layout={"eu": 2, "us": 1, "\x1b[2J": 1}),
        "no name",
    ),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_plan_that_cannot_be_run_is_not_run(name: str) -> None:
    plan, said = UNSOUND[name]
    assert said in flaw_of(plan)
    assert "\n" not in flaw_of(plan)


def test_an_unsound_plan_in_a_file_is_refused() -> None:
    plan = replace(PLAN, faults=(replace(FAULT, kind="meteor"),))
    with pytest.raises(BadArtefact, match="meteor"):
        decode(encode(Artefact(plan)))


def test_a_place_that_a_fault_brings_may_be_named_by_others() -> None:
    joined = Fault(1, "join", 0.5, ("us-12",)), Fault(2, "crash", 1.0, ("us-12",))
    assert flaw_of(replace(PLAN, faults=joined)) == ""
    assert "'us-12'" in flaw_of(replace(PLAN, faults=joined[1:]))
    assert "'ap-12'" in flaw_of(replace(PLAN, faults=(replace(joined[0], places=("ap-12",)),)))
