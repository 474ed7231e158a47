"""The language of ``scenarios/*.txt``: one statement a line, done in order on a simulated cluster, ``#`` comments.

More statements are in `tests.sim.scenario_faults`.

Before the cluster::

    clocks show multiples of <ms>         coarse clocks: equal stamps become likely
    clock of <node> is ahead <ms>
    page limit <bytes>                    of one page of a pull or push
    duplicate every request
    every link carries <bytes> a second
    nodes <node> …                        start them (region = the part before the dash), with the flags f and g

What happens::

    create|delete|kill|unkill <flag> at <node>
    set <flag> <value> at <node>          writes the description
    fill <flag> with <n> of <m> bytes at <node>   n changes of its description
    tag|untag <flag> <tag> at <node>
    cut <place> <place>                   both ways; a place is a node or a region
    cut <place> -> <place>                messages in this direction only
    refuse <place> -> <place>             no connection can be opened in this direction
    mend
    crash|stop|start|join <node>
    wipe <node>                           a stopped one: disk and store are empty then
    found the project again at <node>     with the flags f and g, in a cluster of its own
    clone <node> as <name>                a copy of a stopped node; both then start with the same incarnation
    launch <node> under the name of <node>  an empty machine that calls itself so; it need not become ready
    evict <node> at <node>
    return <node>                         as `vexil member return` at it; it is ready and a member again
    return <node> and crash it after <n> old changes  and start it again
    hand <node> the last change of <node>
    every page of a snapshot has <n> bytes
    wait for a snapshot at <node>         until it is under way
    forget the log at <node>              every row that its fold has, as if it were older than is kept
    wait <seconds>

What must be so::

    expect <flag> <value|absent|present> at <node>|everywhere [within <seconds>]
    expect tags <flag> <tag,…|none> everywhere
    expect killed|alive <flag> everywhere
    expect one winner of <flag> everywhere
    expect conflict of <flag> at <node>
    expect equal stamps of the last changes of <node> and <node>
    expect <kind> alarm
    expect new incarnation of <node>
    expect everybody but <node> to keep the time
    expect a snapshot at <node>           its fold is one that came as a whole
    expect nothing lost
    expect standing <joining|member|unknown|evicted|restored> of <node> [within <seconds>]
    expect refusal of a write at <node>
    expect new registration of <node>
    expect <n> members at <node> [within <seconds>]
    expect everything of <node> back within <seconds>   each change that it had alone: once, issued again or parked
    expect parked <flag> <value> at <node>
    converge within <seconds>
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import trio

from vexil.chaos import final_checks
from vexil.chaos.determinism import Streams
from vexil.chaos.live_checks import LiveChecks
from vexil.chaos.record import Record
from vexil.chaos.simulated_clock import ClockFaults
from vexil.chaos.simulated_cluster import ClusterFaults, SimulatedCluster, Slot
from vexil.chaos.simulated_network import NetworkFaults
from vexil.chaos.trace import Trace
from vexil.chaos.workload import ENVIRONMENTS, PROJECT, flag_body
from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Change
from vexil.crdt.conflicts import RETURNED
from vexil.crdt.flag_state import FlagState
from vexil.crdt.schema import SYSTEM_PROJECT, flag_object
from vexil.node.authoring import change_set, etag_of, put_project, unkill_flag
from vexil.node.engine import Engine
from vexil.node.errors import NodeNotReady
from vexil.node.gossip import messages, snapshots
from vexil.node.membership import eviction
from vexil.node.seams import PeerIdentity

FLAGS = ("f", "g")
SETUP_LIMIT_S = 20
PATIENCE_S = 0.02
STEPS_MAX = 5_000
"""Steps of the loop in which a node's work that takes no time must have come somewhere."""
Statement = Callable[..., Awaitable[None]]
STATEMENTS: list[tuple[re.Pattern[str], Statement]] = []


def statement(pattern: str) -> Callable[[Statement], Statement]:
    """Mark a method as what a line that looks like ``pattern`` does; groups are its arguments."""

    def mark(method: Statement) -> Statement:
        STATEMENTS.append((re.compile(pattern), method))
        return method

    return mark


class Unmet(AssertionError):
    """A line that begins with expect or converge did not hold."""


class Scenario:
    """A scenario while it runs. Everything is fixed by its seed."""

    def __init__(self, nursery: trio.Nursery, patches: ExitStack, *, seed: int = 1) -> None:
        self.record = Record(trio.current_time)
        self.trace = Trace()
        self.streams = Streams(seed)
        self.live = LiveChecks(
            self.record, self.trace, self.streams.stream("checks"), expected_alarms={"fork", "aside"}
        )
        self.clocks: dict[str, ClockFaults] = {}
        self.coarse_ms = 1
        self.network = NetworkFaults()
        self.cloned = False
        self.last: dict[str, Change] = {}
        self.incarnations: dict[str, int] = {}
        self.registrations: dict[str, str] = {}
        self.kept: dict[tuple[str, str], Any] = {}
        """What statements keep for later ones, by kind and name."""
        self._nursery = nursery
        self._patches = patches
        self._cluster: SimulatedCluster | None = None

    async def run(self, text: str) -> None:
        """Do every line. Raises Unmet, naming the line."""
        for number, line in enumerate(text.splitlines(), 1):
            said = line.partition("#")[0].strip()
            if not said:
                continue
            for pattern, method in STATEMENTS:
                if match := pattern.fullmatch(said):
                    try:
                        await method(self, *match.groups())
                    except Unmet as error:
                        raise Unmet(f"line {number}: {said}\n{error}") from None
                    break
            else:
                raise ValueError(f"line {number} is not of the language: {said}")
        # A cloned process is two histories under one name: that these checks notice is the point of the scenario.
        wrong = [
            v for v in self.record.violations if not (self.cloned and v.invariant in {"P11", "P2", "P3"})
        ]
        if wrong:
            raise Unmet("\n".join(map(str, wrong)))

    # -- the cluster

    @property
    def cluster(self) -> SimulatedCluster:
        assert self._cluster is not None, "a scenario begins with its nodes"
        return self._cluster

    def slot(self, name: str) -> Slot:
        return self.cluster.slots[name]

    def engine(self, name: str) -> Engine:
        engine = self.slot(name).engine
        assert engine is not None, f"{name} does not run"
        return engine

    @statement(r"clocks show multiples of (\d+)")
    async def coarse(self, ms: str) -> None:
        self.coarse_ms = int(ms)

    @statement(r"clock of (\S+) is ahead (\d+)")
    async def skew(self, node: str, ms: str) -> None:
        self.clocks[node] = ClockFaults(offset_ms=int(ms))

    @statement(r"page limit (\d+)")
    async def page_limit(self, size: str) -> None:
        self._patches.enter_context(patch.object(messages, "PAGE_BYTES", int(size)))

    @statement(r"duplicate every request")
    async def duplicate(self) -> None:
        self.network = NetworkFaults(duplicate_request=1.0)

    @statement(r"every link carries (\d+) a second")
    async def narrow(self, bytes_per_s: str) -> None:
        self.network = NetworkFaults(narrow=1.0, bytes_per_s=float(bytes_per_s))

    @statement(r"nodes (.+)")
    async def nodes(self, names: str) -> None:
        layout: dict[str, int] = {}
        for name in names.split():
            region = name.partition("-")[0]
            layout[region] = layout.get(region, 0) + 1
            self.clocks.setdefault(name, ClockFaults(granularity_ms=self.coarse_ms))
        faults = ClusterFaults(network=self.network, clocks=self.clocks)
        cluster = self._cluster = SimulatedCluster(
            self.streams, layout, faults, self._nursery, self.live, self.trace
        )
        first, *others = cluster.slots.values()
        await cluster.start(first)
        async with trio.open_nursery() as nursery:
            for slot in others:
                nursery.start_soon(cluster.start, slot)
        await self.found(first.name)
        with trio.fail_after(SETUP_LIMIT_S):
            while not all(  # noqa: ASYNC110 - it looks at a whole cluster from outside
                PROJECT in engine.projects for _, engine in final_checks.engines(cluster)
            ):
                await trio.sleep(PATIENCE_S)
        await self.converge(str(SETUP_LIMIT_S))
        for slot in cluster.slots.values():
            self.incarnations[slot.name] = self.engine(slot.name).incarnation
            self.registrations[slot.name] = self.engine(slot.name).registration

    @statement(r"found the project again at (\S+)")
    async def found(self, node: str) -> None:
        settings = {"environments": list(ENVIRONMENTS)}
        await self.engine(node).write(
            SYSTEM_PROJECT, lambda view: put_project(view, PROJECT, settings), author="setup"
        )
        creates = [{"op": "create", "flag": flag, "value": flag_body("fresh")} for flag in FLAGS]
        await self.write(node, *creates)

    @statement(r"wipe (\S+)")
    async def wipe(self, node: str) -> None:
        self.cluster.wipe_slot(self.slot(node))

    @statement(r"(crash|stop|start|join) (\S+)")
    async def life(self, verb: str, node: str) -> None:
        if verb == "join":
            self.cluster.add_slot(node, node.partition("-")[0])
        slot = self.slot(node)
        if verb == "crash":
            self.cluster.crash(slot)
            await self.cluster.ended(slot)
        elif verb == "stop":
            await self.cluster.stop(slot)
        else:
            with trio.fail_after(SETUP_LIMIT_S):
                await self.cluster.start(slot)
            if node not in self.incarnations:
                self.incarnations[node] = self.engine(node).incarnation

    @statement(r"clone (\S+) as (\S+)")
    async def clone(self, node: str, name: str) -> None:
        self.cloned = True
        slots = self.slot(node), self.cluster.clone_slot(self.slot(node), name)
        for slot in slots:
            self.cluster.launch(slot, entropy_of="one machine")
        first = {slot.process.engine.incarnation for slot in slots if slot.process is not None}
        assert len(first) == 1, "the clone is none"
        for slot in slots:
            self.incarnations[slot.name] = next(iter(first))
            assert slot.process is not None
            with trio.fail_after(SETUP_LIMIT_S):
                await slot.process.ready.wait()

    @statement(r"launch (\S+) under the name of (\S+)")
    async def launch_namesake(self, node: str, original: str) -> None:
        slot = self.slot(original)
        if node not in self.cluster.slots:
            self.cluster.add_namesake(node, slot)
        self.cluster.launch(self.slot(node))

    @statement(r"evict (\S+) at (\S+)")
    async def evict(self, node: str, at: str) -> None:
        engine = self.engine(at)
        await engine.write(
            SYSTEM_PROJECT,
            lambda _: eviction(engine.directory, node, own=at, by="operator"),
            author="operator",
        )

    @statement(r"return (\S+)")
    async def come_back(self, node: str) -> None:
        self.registrations[node] = self.engine(node).registration
        self.engine(node).enrolment.return_now()
        await self.expect_standing("member", node, str(SETUP_LIMIT_S), unlike=self.registrations[node])

    @statement(r"cut (\S+) (\S+)")
    async def cut(self, a: str, b: str) -> None:
        self.cluster.network.cut(a, b)
        self.cluster.network.cut(b, a)

    @statement(r"(cut|refuse) (\S+) -> (\S+)")
    async def one_way(self, verb: str, a: str, b: str) -> None:
        (self.cluster.network.cut if verb == "cut" else self.cluster.network.refuse)(a, b)

    @statement(r"mend")
    async def mend(self) -> None:
        self.cluster.network.mend_all()

    @statement(r"every page of a snapshot has (\d+) bytes")
    async def small_snapshot_pages(self, size: str) -> None:
        self._patches.enter_context(patch.object(snapshots, "PAGE_BYTES", int(size)))
        self._patches.enter_context(patch.object(messages, "PAGE_BYTES_MIN", int(size)))

    @statement(r"wait for a snapshot at (\S+)")
    async def wait_for_snapshot(self, node: str) -> None:
        progress = self.engine(node).snapshots.progress
        await self._until(SETUP_LIMIT_S, lambda: PROJECT in progress, lambda: "not under way")

    @statement(r"forget the log at (\S+)")
    async def forget_log(self, node: str) -> None:
        engine = self.engine(node)
        assert engine.writer is not None
        await engine.drain()
        for name in engine.projects:
            through = engine.writer.fold_stored.get(name, {})
            await engine.seams.journal.trim(name, through)
            await engine.seams.store.trim_changes(name, through)

    @statement(r"wait (\S+)")
    async def wait(self, seconds: str) -> None:
        await trio.sleep(float(seconds))

    # -- writing

    async def write(self, node: str, *operations: dict[str, Any]) -> None:
        await self._author(
            node, lambda view: change_set(view, {"operations": list(operations)}, new_id=lambda: "r").intent
        )

    async def _author(self, node: str, decide: Callable[..., Any]) -> None:
        # The durability is the node's own: a scenario says itself who is in reach.
        written = await self.engine(node).write(PROJECT, decide, author=node, durability="node")
        assert written.dot is not None, "nothing was written"
        self.last[node] = self.record.changes[PROJECT][written.dot]

    @statement(r"(create|delete|kill|unkill) (\S+) at (\S+)")
    async def simple(self, verb: str, flag: str, node: str) -> None:
        if verb == "unkill":
            await self._author(
                node,
                lambda view: unkill_flag(
                    view, flag, "prod", if_match=etag_of(view.replica.cells(flag_object(flag)))
                ),
            )
            return
        extra: dict[str, dict[str, Any]] = {
            "create": {"value": flag_body("fresh")},
            "kill": {"environment": "prod"},
        }
        await self.write(node, {"op": verb, "flag": flag, **extra.get(verb, {})})

    @statement(r"set (\S+) (\S+) at (\S+)")
    async def describe(self, flag: str, value: str, node: str) -> None:
        await self.write(node, {"op": "patch", "flag": flag, "patch": {"description": value}})

    @statement(r"fill (\S+) with (\d+) of (\d+) bytes at (\S+)")
    async def fill(self, flag: str, changes: str, size: str, node: str) -> None:
        for number in range(int(changes)):
            await self.describe(flag, f"{number}-".ljust(int(size), "x"), node)

    @statement(r"(tag|untag) (\S+) (\S+) at (\S+)")
    async def tag(self, verb: str, flag: str, tag: str, node: str) -> None:
        await self.write(node, {"op": "add_tag" if verb == "tag" else "remove_tag", "flag": flag, "tag": tag})

    @statement(r"hand (\S+) the last change of (\S+)")
    async def hand(self, node: str, author: str) -> None:
        sender = PeerIdentity(self.slot(author).member, self.slot(author).region)
        registration = self.engine(node).directory.members[sender.node].registration
        body = messages.encode({"changes": {PROJECT: [self.last[author].raw]}, "as": registration})
        await self.engine(node).peer_service.serve(sender, "push", body)

    # -- judging

    def _flag(self, node: str, flag: str) -> FlagState | None:
        return self.engine(node).projects[PROJECT].flag(flag)

    def _places(self, where: str) -> list[str]:
        return [slot.name for slot in self.cluster.live()] if where == "everywhere" else [where]

    async def _until(self, seconds: float, holds: Callable[[], bool], told: Callable[[], object]) -> None:
        with trio.move_on_after(seconds):
            while not holds():  # noqa: ASYNC110 - it looks at a whole cluster from outside
                await trio.sleep(PATIENCE_S)
        if not holds():
            raise Unmet(f"it is {told()}")

    @statement(
        r"expect (?!tags |killed |alive |one |a |new |nothing |\d+ members )"
        r"(\S+) (\S+) (?:at (\S+)|everywhere)(?: within (\S+))?"
    )
    async def expect(self, flag: str, value: str, node: str | None, seconds: str | None) -> None:
        def shown() -> dict[str, str]:
            states = {n: self._flag(n, flag) for n in self._places(node or "everywhere")}
            return {n: "absent" if state is None else state.description for n, state in states.items()}

        def holds() -> bool:
            return all(s == value or (value == "present" and s != "absent") for s in shown().values())

        await self._until(float(seconds or 0), holds, shown)

    @statement(r"expect tags (\S+) (\S+) everywhere")
    async def expect_tags(self, flag: str, tags: str) -> None:
        shown = {
            n: state.tags for n in self._places("everywhere") if (state := self._flag(n, flag)) is not None
        }
        wanted = () if tags == "none" else tuple(sorted(tags.split(",")))
        if not shown or any(tuple(sorted(t)) != wanted for t in shown.values()):
            raise Unmet(f"they are {shown}")

    @statement(r"expect (killed|alive) (\S+) everywhere")
    async def expect_killed(self, what: str, flag: str) -> None:
        places = self._places("everywhere")
        shown = {n: s.environments["prod"].kill for n in places if (s := self._flag(n, flag)) is not None}
        if not shown or any(kill is not (what == "killed") for kill in shown.values()):
            raise Unmet(f"kills are {shown}")

    @statement(r"expect standing (\S+) of (\S+)(?: within (\S+))?")
    async def expect_standing(
        self, standing: str, node: str, seconds: str | None, *, unlike: str | None = None
    ) -> None:
        def shown() -> object:
            engine = self.slot(node).engine
            if engine is None or engine.registration == unlike:
                return None
            return engine.enrolment.standing if engine.ready or standing == "joining" else "not ready"

        await self._until(float(seconds or 0), lambda: shown() == standing, shown)

    @statement(r"expect refusal of a write at (\S+)")
    async def expect_refusal(self, node: str) -> None:
        try:
            await self.write(node, {"op": "patch", "flag": "f", "patch": {"description": "taken"}})
        except NodeNotReady:
            return
        raise Unmet("it was taken")

    @statement(r"return (\S+) and crash it after (\d+) old changes")
    async def come_back_and_crash(self, node: str, count: str) -> None:
        self.registrations[node] = self.engine(node).registration
        self.engine(node).enrolment.return_now()
        with trio.fail_after(SETUP_LIMIT_S):
            while (  # noqa: ASYNC110 - it looks at a node from outside
                engine := self.slot(node).engine
            ) is None or engine.coming_back is None:
                await trio.sleep(PATIENCE_S)
            await engine.until_ready()
        # Nothing need take any time in a sound world: it is looked at between the steps of other tasks.
        for _ in range(STEPS_MAX):
            if self._progress(node)["done"] >= int(count):
                break
            await trio.lowlevel.checkpoint()
        if self._progress(node)["finished"]:
            raise Unmet("it was through before the crash")
        await self.life("crash", node)
        await self.life("start", node)

    def _progress(self, node: str) -> dict[str, Any]:
        engine = self.slot(node).engine
        nothing = {"done": 0, "finished": False}
        return nothing if engine is None or engine.coming_back is None else engine.coming_back.status()

    @statement(r"expect everything of (\S+) back within (\S+)")
    async def expect_back(self, node: str, seconds: str) -> None:
        await self._until(
            float(seconds),
            lambda: bool(self._progress(node)["finished"]) and not self.slot(node).archives,
            lambda: self._progress(node),
        )
        engine = self.engine(node)
        replica = engine.projects[PROJECT].replica
        written = self.record.changes[PROJECT]
        alone = [c for dot, c in written.items() if replica.known(dot[0]) < dot[1]]
        keys = [c.idempotency[0] for dot, c in written.items() if c.idempotency and c not in alone]
        if not alone:
            raise Unmet("it had nothing alone")
        for change in alone:
            made = f"return/{change.id}/{change.chain.hex()[:16]}"
            wanted = {made, *(change.idempotency or ())[:1]}
            found = [key for key in keys if key in wanted]
            if len(found) != 1:
                raise Unmet(f"{change.id} became {found}")

    @statement(r"expect parked (\S+) (\S+) at (\S+)")
    async def expect_parked(self, flag: str, value: str, node: str) -> None:
        records = self.engine(node).projects[PROJECT].conflicts()
        found = [r.siblings[0].value for r in records if r.kind == RETURNED and r.object == flag_object(flag)]
        if found != [value]:
            raise Unmet(f"they are {found}")

    @statement(r"expect new registration of (\S+)")
    async def expect_new_registration(self, node: str) -> None:
        if self.engine(node).registration == self.registrations[node]:
            raise Unmet("it is the old one")

    @statement(r"expect (\d+) members at (\S+)(?: within (\S+))?")
    async def expect_members(self, count: str, node: str, seconds: str | None) -> None:
        def found() -> list[str]:
            return [slot for slot, m in self.engine(node).directory.members.items() if m.registered]

        await self._until(float(seconds or 0), lambda: len(found()) == int(count), found)

    @statement(r"expect one winner of (\S+) everywhere")
    async def expect_one_winner(self, flag: str) -> None:
        shown = {
            n: None if (s := self._flag(n, flag)) is None else s.description
            for n in self._places("everywhere")
        }
        if len(set(shown.values())) != 1:
            raise Unmet(f"winners are {shown}")

    @statement(r"expect conflict of (\S+) at (\S+)")
    async def expect_conflict(self, flag: str, node: str) -> None:
        records = self.engine(node).projects[PROJECT].conflicts()
        if not any(record.object == flag_object(flag) for record in records):
            raise Unmet(f"conflicts are {records}")

    @statement(r"expect equal stamps of the last changes of (\S+) and (\S+)")
    async def expect_equal_stamps(self, left: str, right: str) -> None:
        stamps = [hlcs.render(self.last[node].hlc) for node in (left, right)]
        if stamps[0] != stamps[1]:
            raise Unmet(f"they are {stamps}")

    @statement(r"expect (\S+) alarm")
    async def expect_alarm(self, kind: str) -> None:
        await self._until(
            15, lambda: any(k == kind for _, k, _ in self.live.alarms), lambda: self.live.alarms
        )

    @statement(r"expect new incarnation of (\S+)")
    async def expect_new_incarnation(self, node: str) -> None:
        if self.engine(node).incarnation == self.incarnations[node]:
            raise Unmet("it is the old one")

    @statement(r"expect everybody but (\S+) to keep the time")
    async def expect_time_kept(self, node: str) -> None:
        for slot in self.cluster.live():
            ahead_ms = hlcs.milliseconds(self.engine(slot.name).clock.last) - slot.clock.wall_ms()
            if slot.name != node and ahead_ms > 1_000:
                raise Unmet(f"{slot.name} is {ahead_ms} ms ahead")

    @statement(r"expect a snapshot at (\S+)")
    async def expect_snapshot(self, node: str) -> None:
        writer = self.engine(node).writer
        if writer is None or not writer.checkpoint(PROJECT):
            raise Unmet("its fold has grown from its own log")

    @statement(r"expect nothing lost")
    async def expect_nothing_lost(self) -> None:
        final_checks.check_all(self.cluster, self.record, self.live)

    @statement(r"converge within (\S+)")
    async def converge(self, seconds: str) -> None:
        def left() -> object:
            return {
                slot.name: {name: sorted(p.replica.vv.values()) for name, p in engine.projects.items()}
                for slot, engine in final_checks.engines(self.cluster)
            }

        def same() -> bool:
            found = [
                {name: (p.replica.vv, p.replica.root) for name, p in engine.projects.items()}
                for slot, engine in final_checks.engines(self.cluster)
                if slot.ready
            ]
            return all(state == found[0] for state in found)

        await self._until(float(seconds), same, left)
