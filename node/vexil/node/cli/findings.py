"""What is wrong in a cluster, told from what its nodes say of themselves, and what a person can do about each of it.

The one idea: a finding without a next step helps nobody, so each has one. Nothing that a node says is relied on to be
there or to be of the right kind: an older node says less, and what it does not say is not found wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vexil.node.cli.reports import Report, agreements_of

BACKLOG_MAX: Final = 10_000
"""Changes that a store which answers may be behind by for a while."""
OFFSET_MS_MAX: Final = 5_000
"""A clock that is so far off is worth a look long before its node stops believing it."""
UNHEARD_MS_MAX: Final = 60_000
"""A node that knows a member for less long, because either has just started, need not have heard it yet: of another
region it asks one at a time, every five seconds."""
SHOWN_MAX: Final = 5
"""Cells of a repair that are named."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or worth knowing (``serious`` is false), and what to do."""

    code: str
    where: str
    what: str
    advice: str
    serious: bool = True

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "code": self.code,
            "where": self.where,
            "what": self.what,
            "do": self.advice,
            "serious": self.serious,
        }


_STANDINGS: Final = {
    "joining": "wait; if it stays so, look into its log for whom it asks, and check its seeds and its secret",
    "unknown": "wait: nobody whom it reaches knows its registration; soon it begins anew by itself, with its writes",
    "evicted": "run `vexil member return --node` with its URL: it comes back with what it has not sent",
    "restored": "its folder is an older copy: see that it reaches a peer, which gives back the rest by itself",
}
_OUTSIDE: Final = ("evicted", "unknown")
"""In these the others refuse the node: that it hears nothing of them says nothing about them."""
_ALARMS: Final = {
    "forks": (
        "one incarnation has two histories: a node's folder was copied while it ran, or put back from a copy",
        "find the two processes, stop one, and start it with an empty folder; what was refused is kept (`aside`)",
    ),
    "twins": (
        "another process runs in this node's slot",
        "stop one of the two, and give the other a name and a folder of its own (`vexil member add`)",
    ),
    "divergences": (
        "it has met another state under its own vector, or cells that do not make its root hash",
        "nodes mend this by themselves: see its repairs below; where it comes again, test that machine's memory",
    ),
    "repairs": (
        "cells were mended from the log or from a peer",
        "nothing for the state; look at what was mended, and test the memory and disk of that machine",
    ),
    "aside": (
        "changes were refused and kept aside",
        "look into its log for `change put aside`: who sent them and why; they are never applied by themselves",
    ),
    "damaged": (
        "its log lacks changes that it had before",
        "its peers give them back; check the disk, and run `vexil doctor --data` on its folder",
    ),
    "restored": (
        "it was started on an older copy of its folder",
        "nothing if its standing is `member` again; never start a node on a copied folder",
    ),
    "unknown": (
        "nobody whom it reached knew its registration: its sponsor may have been evicted",
        "nothing if its standing is `member` again; what it wrote meanwhile is issued again, or in `vexil conflicts`",
    ),
    "journal_full": (
        "its disk has refused writes",
        "make room on its disk; writes to it were refused with `durability.unavailable`, none was lost",
    ),
}


def of_nodes(reports: Sequence[Report]) -> list[Finding]:
    """Everything that the nodes' answers, or their silence, tell; worst first within each node."""
    found: list[Finding] = []
    answered = [report for report in reports if report.status is not None]
    evicted = _evicted(answered)
    for report in reports:
        name = report.node.name or report.node.url
        if report.status is None and name in evicted:
            found.append(
                Finding(
                    "node.gone",
                    name,
                    "is evicted, and does not run",
                    "nothing, unless it is to come back: start it, and it says how",
                    serious=False,
                )
            )
        elif report.status is None:
            found.append(
                Finding(
                    "node.unreachable",
                    name,
                    f"cannot be reached at {report.node.url}: {report.failure}",
                    "start it (`vexil dev start NAME`, or `vexil node --config node.toml`), or check the network; "
                    "if it is gone for good: `vexil member evict NAME`",
                )
            )
        else:
            found += _of_node(name, report.status)
    found += [
        Finding(
            "project.diverged",
            item.project,
            "nodes have seen the same changes and hold different states: "
            + "; ".join(" ".join(sorted(names)) for names in item.groups.values()),
            "they mend this by themselves within a minute: run this again; if it stays, see the repairs in their logs",
        )
        for item in agreements_of(answered)
        if item.forked
    ]
    return found


def _of_node(name: str, status: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _standing(name, status)
    yield from _store_and_clock(name, status)
    yield from _links_cut(name, status)
    if status.get("standing") not in _OUTSIDE:
        yield from _others(name, status)
        yield from _garbage(name, status)
    alarms = _mapping(status.get("alarms"))
    for kind, count in alarms.items():
        if _number(count):
            what, advice = _ALARMS.get(str(kind), (f"it has counted {kind}", "look into its log"))
            yield Finding(f"alarm.{kind}", name, f"{what} ({_number(count)} since its start)", advice)
    for repair in _items(status.get("repairs")):
        if _number(repair.get("cells")) or repair.get("root") is True:
            yield _repair(name, repair)
    for project, numbers in _mapping(status.get("projects")).items():
        quarantined = _number(_mapping(numbers).get("quarantined"))
        if quarantined:
            yield Finding(
                "project.quarantined",
                f"{name}: {project}",
                f"{quarantined} broken flags or segments are served as off",
                f"`vexil conflicts --project {project}` names them; write a sound value over what is broken",
            )


def _standing(name: str, status: Mapping[str, Any]) -> Iterator[Finding]:
    standing = _text(status.get("standing"))
    if standing in _STANDINGS:
        yield Finding("node.standing", name, f"is {standing}, so it takes no writes", _STANDINGS[standing])
    elif standing not in {"", "member"}:
        yield Finding("node.standing", name, f"is {standing}", "look into its log")
    if status.get("ready") is not True and standing not in _STANDINGS:
        yield Finding(
            "node.not_ready",
            name,
            "is not ready: it loads its state, or catches up",
            "wait a minute; if it stays so, look into its log",
        )
    returning = _mapping(status.get("returning"))
    waits_for = returning.get("waits_for")
    if returning and returning.get("finished") is not True:
        yield Finding(
            "node.returning",
            name,
            "brings back what an earlier registration of it had not sent: "
            f"{_number(returning.get('done'))} of {_number(returning.get('changes'))} changes so far"
            + (f"; it waits for {_told(waits_for)}" if isinstance(waits_for, list) and waits_for else ""),
            "wait; what cannot be brought back is in `vexil conflicts`",
            serious=False,
        )


def _store_and_clock(name: str, status: Mapping[str, Any]) -> Iterator[Finding]:
    store = _mapping(status.get("store"))
    backlog = _number(store.get("backlog"))
    state = _text(store.get("state"))
    if state not in {"", "available"}:
        yield Finding(
            "store.away",
            name,
            f"its store ({store.get('kind', 'unknown')}) is {state}; {backlog} changes wait for it",
            "check the store, and the room on its disk; the node goes on from its journal and catches up by itself",
        )
    elif backlog > BACKLOG_MAX:
        yield Finding(
            "store.backlog",
            name,
            f"{backlog} changes wait for its store",
            "see whether the number falls; if not, the store is too slow: check its disk",
        )
    if damaged := _number(store.get("damaged_records")):
        yield Finding(
            "log.damaged",
            name,
            f"its log has {damaged} damaged rows, as far as it has been read",
            "run `vexil doctor --data` on its folder, and test that disk",
        )
    clock = _mapping(status.get("clock"))
    offset_ms = _number(clock.get("offset_ms"))
    if clock.get("suspect") is True or abs(offset_ms) > OFFSET_MS_MAX:
        effect = "; it takes kills only" if clock.get("suspect") is True else ""
        yield Finding(
            "clock.offset",
            name,
            f"its clock is {offset_ms} ms off its peers'{effect}",
            "set that machine's time (NTP); nothing has to be restarted",
        )


def _evicted(answered: Sequence[Report]) -> set[str]:
    """Nodes that anybody who answered knows as evicted."""
    members = [member for report in answered for member in _items((report.status or {}).get("members"))]
    return {str(member.get("node")) for member in members if member.get("state") == "evicted"}


def _links_cut(name: str, status: Mapping[str, Any]) -> Iterator[Finding]:
    cut = status.get("links_cut")
    if isinstance(cut, list) and cut:
        yield Finding(
            "links.cut",
            name,
            f"links are cut on purpose: {_told(cut)}",
            'mend them: POST /api/v1/dev/links with "state": "ok" at this node',
        )


def _others(name: str, status: Mapping[str, Any]) -> Iterator[Finding]:
    members = _items(status.get("members"))
    new_regions = [member.get("region") for member in members if _is_new(member)]
    stale = status.get("stale_regions")
    stale = [region for region in stale if region not in new_regions] if isinstance(stale, list) else []
    if stale:
        yield Finding(
            "region.stale",
            name,
            f"has not heard lately from {', '.join(map(str, stale))}: what it shows of there may be old",
            "check the network between the regions, and whether any node runs there",
        )
    for member in members:
        state = _text(member.get("state"))
        if _is_new(member):
            yield Finding(
                "member.new",
                name,
                f"has not heard {member.get('node', '?')} yet, which it knows since a moment",
                f"wait: it should be heard within {UNHEARD_MS_MAX // 1000} s",
                serious=False,
            )
        elif state in _MEMBER_STATES:
            yield Finding(
                f"member.{state}",
                name,
                f"{_MEMBER_STATES[state]} {member.get('node', '?')}",
                "start that node, or mend the network; if it is gone for good: "
                f"`vexil member evict {member.get('node', 'NAME')}`",
                serious=state != "suspected",
            )


def _is_new(member: Mapping[str, Any]) -> bool:
    known_ms = member.get("known_ms")
    return member.get("state") == "unheard" and isinstance(known_ms, int) and known_ms < UNHEARD_MS_MAX


_MEMBER_STATES: Final = {
    "unheard": "has never heard",
    "unreachable": "gets no answer from",
    "suspected": "has not heard for a while from",
}


def _garbage(name: str, status: Mapping[str, Any]) -> Iterator[Finding]:
    blocked: dict[str, tuple[str, list[str]]] = {}
    twins: set[str] = set()
    for project, state in _mapping(status.get("garbage")).items():
        for by in _items(_mapping(state).get("blocked_by")):
            slot = str(by.get("node", "?"))
            since, projects = blocked.setdefault(slot, (str(by.get("since", "?")), []))
            projects.append(str(project))
            blocked[slot] = (min(since, str(by.get("since", "?"))), projects)
            if by.get("twins") is True:
                twins.add(slot)
    for slot, (since, projects) in sorted(blocked.items()):
        yield Finding(
            "garbage.blocked",
            name,
            f"garbage of {', '.join(sorted(projects))} waits for {slot} since {since}"
            + (": two processes run as it" if slot in twins else ""),
            f"end one of the two, and then start the other one anew: {slot} counts as one again a minute later"
            if slot in twins
            else f"bring {slot} back; if it is gone for good: `vexil member evict {slot}`",
        )


def _repair(name: str, repair: Mapping[str, Any]) -> Finding:
    listed = [
        f"{item.get('object', '?')} {item.get('field', '?')}: {item.get('ours', '?')} → {item.get('taken', '?')}"
        for item in _items(repair.get("differences"))[:SHOWN_MAX]
    ]
    count = _number(repair.get("cells"))
    return Finding(
        "repair",
        f"{name}: {repair.get('project', '?')}",
        f"at {repair.get('time', '?')}, compared with {repair.get('peer', '?')}: {count} cells mended"
        + (", and the root hash" if repair.get("root") is True else "")
        + (f" ({'; '.join(listed)})" if listed else ""),
        "nothing for the state; a machine on which this comes again has bad memory or a bad disk",
        serious=False,
    )


def _told(cut: Sequence[Any]) -> str:
    return ", ".join(" and ".join(map(str, pair)) if isinstance(pair, list) else str(pair) for pair in cut)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _number(value: object) -> int:
    """A number, or how many there are of what a node lists."""
    if isinstance(value, list | dict):
        return len(value)
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0
