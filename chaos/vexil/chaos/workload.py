"""Administrators that fight over a few flags, in every region, through whatever node they reach.

Each write has an idempotency key and is tried again while its outcome is unknown: at any node if an answer has named
the change, else at the node that was asked first. Readers are not simulated as tasks: what they would see is checked
after every batch (`vexil.chaos.live_checks`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import trio

from vexil.chaos.record import Outcome, Record, Write
from vexil.chaos.simulated_cluster import NoAnswer, SimulatedCluster, Slot
from vexil.crdt import version_vector
from vexil.crdt.change import parse_id
from vexil.crdt.schema import flag_object
from vexil.node.authoring import change_set, etag_of, unkill_flag
from vexil.node.authoring.intent import Intent
from vexil.node.engine import Engine
from vexil.node.engine_types import Written
from vexil.node.errors import ApiError
from vexil.node.project import Project

PROJECT: Final = "demo"
ENVIRONMENTS: Final = ("dev", "prod")
CONTESTED: Final = ("a", "b", "c")
PAIR: Final = ("pair-1", "pair-2")
FAVOURITE: Final = 0.4
"""How often all of them want the same flag, in the same environment."""
TRIES_MAX: Final = 12
TRY_TIMEOUT_MS: Final = 7_000
"""Above what a retry waits for its change, and above what a write waits for its durability."""

Operations = Callable[[Project], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class WorkloadSettings:
    """How hard the administrators work. The defaults are what most seeds have."""

    admins_per_region: int = 1
    pause_ms_max: float = 900.0
    """Between two writes of one administrator: from nothing up to this, evenly."""
    roaming: float = 0.2
    """How often one asks a node of another region."""
    impatient: float = 0.1
    """How often one gives up after 300 ms, and asks again."""
    demanding: float = 0.15
    """How often one asks for a durability by name."""


class Administrator:
    """One person with a script, at home in one region."""

    def __init__(
        self,
        name: str,
        region: str,
        cluster: SimulatedCluster,
        record: Record,
        rng: Random,
        settings: WorkloadSettings,
    ) -> None:
        """Nothing has been written yet."""
        self.name = name
        self._region = region
        self._cluster = cluster
        self._record = record
        self._rng = rng
        self._settings = settings
        self._count = 0

    async def work(self, until_s: float) -> None:
        """Write, one thing after another, until ``until_s``; the last one is seen through."""
        while trio.current_time() < until_s:
            await trio.sleep(self._rng.uniform(0, self._settings.pause_ms_max) / 1000)
            what, decide = self._idea()
            await self.write(what, decide)

    # -- what to write

    def _idea(self) -> tuple[str, Callable[[Project], Intent]]:
        rng = self._rng
        flag = rng.choice(CONTESTED)
        environment = rng.choice(ENVIRONMENTS)
        mark = f"{self.name}-{self._count}"
        if rng.random() < FAVOURITE:
            flag, environment = CONTESTED[0], ENVIRONMENTS[-1]
        kind = rng.choices(
            ("patch", "pair", "delete", "create", "kill", "unkill", "tag", "untag", "rule", "unrule", "both"),
            (8, 4, 2, 3, 3, 3, 3, 2, 3, 2, 3),
        )[0]
        if kind == "pair":
            patch = {
                "owner": mark,
                "environments": {e: {"metadata": {"release": mark}} for e in ENVIRONMENTS},
            }
            return f"pair {mark}", self._set([{"op": "patch", "flag": f, "patch": patch} for f in PAIR])
        if kind == "both":
            edits = [
                {"op": "patch", "flag": f, "patch": {"description": mark}} for f in rng.sample(CONTESTED, 2)
            ]
            edits.append({"op": "patch", "flag": PAIR[0], "patch": {"description": mark}})
            return f"both {mark}", self._set(edits)
        if kind == "unkill":
            return f"unkill {flag} {environment}", lambda view: unkill_flag(
                view, flag, environment, if_match=etag_of(view.replica.cells(flag_object(flag)))
            )
        return f"{kind} {flag}", self._set([{"flag": flag, **self._operation(kind, environment, mark)}])

    def _operation(self, kind: str, environment: str, mark: str) -> dict[str, Any]:
        rng = self._rng
        tag = rng.choice(("x", "y"))
        rule = rng.choice(("r1", "r2", "r3"))
        body = {"id": rule, "if": {"==": [{"var": "who"}, mark]}, "serve": rng.choice(("on", "off"))}
        operations: dict[str, dict[str, Any]] = {
            "delete": {"op": "delete"},
            "create": {"op": "create", "value": flag_body(mark)},
            "kill": {"op": "kill", "environment": environment},
            "tag": {"op": "add_tag", "tag": tag},
            "untag": {"op": "remove_tag", "tag": tag},
            "rule": {"op": "put_rule", "environment": environment, "rule": body},
            "unrule": {"op": "remove_rule", "environment": environment, "id": rule},
        }
        if kind in operations:
            return operations[kind]
        part = {"enabled": rng.random() < 0.7, "default": rng.choice(("on", "off"))}
        patch = rng.choice(({"description": mark}, {"environments": {environment: part}}, {"owner": mark}))
        return {"op": "patch", "patch": patch}

    def _set(self, operations: list[dict[str, Any]]) -> Callable[[Project], Intent]:
        def new_id() -> str:
            raise AssertionError("every rule of this workload has an id")

        return lambda view: change_set(view, {"operations": operations}, new_id=new_id).intent

    # -- how to write it

    async def write(self, what: str, decide: Callable[[Project], Intent]) -> Write:
        """One write with all its retries; its outcome may stay unknown if no node answers for long."""
        self._count += 1
        write = Write(f"{self.name}/{self._count}", what)
        self._record.writes.append(write)
        rng, settings = self._rng, self._settings
        asked = rng.choice(("node", "peer", "region")) if rng.random() < settings.demanding else ""
        unlinked = False
        for _ in range(TRIES_MAX):
            slot = self._choose(write, unlinked=unlinked)
            if slot is not None:
                unlinked = True
                await self._try(slot, write, decide, asked)
                if write.outcome is not Outcome.UNKNOWN:
                    return write
            await trio.sleep(rng.uniform(0.1, 0.8))
        return write

    def _choose(self, write: Write, *, unlinked: bool) -> Slot | None:
        if unlinked and write.dot is None:
            return self._cluster.slots[write.slot] if self._cluster.slots[write.slot].ready else None
        live = self._cluster.live()
        near = [slot for slot in live if slot.region == self._region]
        chosen = live if self._rng.random() < self._settings.roaming or not near else near
        return self._rng.choice(chosen) if chosen else None

    async def _try(self, slot: Slot, write: Write, decide: Callable[[Project], Intent], asked: str) -> None:
        write.slot = slot.name
        named = write.dot

        def decided(view: Project) -> Intent:
            self._record.authored_on[PROJECT, write.key] = dict(view.replica.vv)
            return decide(view)

        async def handle(engine: Engine) -> Written:
            return await engine.write(
                PROJECT,
                decided,
                author=self.name,
                idempotency=(write.key, b"same"),
                durability=asked,
                retry_of=named,
            )

        impatient = self._rng.random() < self._settings.impatient
        abandon = self._rng.random() < 0.5
        try:
            written = await self._cluster.request(
                slot, handle, timeout_ms=300 if impatient else TRY_TIMEOUT_MS, abandon=abandon
            )
        except NoAnswer:
            return
        except ApiError as error:
            if not error.definite:
                told = parse_id(str(error.members.get("change")))
                write.dot = told or write.dot
            elif named is None:
                write.outcome = Outcome.REFUSED
            return
        self._acknowledged(slot, write, written)

    def _acknowledged(self, slot: Slot, write: Write, written: Written) -> None:
        if written.dot is None:
            write.outcome = Outcome.NOTHING_TO_WRITE
            return
        if write.dot is not None and write.dot != written.dot:
            self._record.violate("P13", f"{write.what}: a retry of {write.dot} was told {written.dot}")
        write.outcome, write.dot, write.durability = Outcome.ACKNOWLEDGED, written.dot, written.durability
        engine = slot.engine
        if engine is not None:
            shown = engine.projects[PROJECT].replica.covers(dict([written.dot]))
            if not (shown and version_vector.covers(written.token, [written.dot])):
                self._record.violate(
                    "P6", f"{slot.name} acknowledged {written.change_id} and does not show it"
                )


def flag_body(mark: str) -> dict[str, Any]:
    """A boolean flag that is on everywhere."""
    return {
        "type": "boolean",
        "description": mark,
        "variants": {"on": True, "off": False},
        "environments": {e: {"enabled": True, "default": "on", "off_variant": "off"} for e in ENVIRONMENTS},
    }
