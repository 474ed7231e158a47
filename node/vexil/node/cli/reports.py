"""What the nodes of a cluster say of themselves, and whether they say the same.

The one idea: a node's word for itself is not enough, so every node that can be found is asked, and what cannot be
reached is part of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from vexil.node.cli.client import Answer, Client, path
from vexil.node.cli.errors import CommandFailed, Refused
from vexil.node.cli.settings import ClusterNode, checked_url

NODES_ASKED_MAX = 200


@dataclass(frozen=True, slots=True)
class Report:
    """What one node said of itself, or why it said nothing."""

    node: ClusterNode
    status: dict[str, Any] | None
    failure: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the nodes that answered hold of one project."""

    project: str
    groups: dict[tuple[str, str], list[str]]
    """(vv_hash, root_hash) → names of the nodes that have it."""

    @property
    def converged(self) -> bool:
        """All of them hold the same."""
        return len(self.groups) <= 1

    @property
    def forked(self) -> bool:
        """Some have seen the same changes and yet hold something else: never right."""
        return len({vv for vv, _ in self.groups}) < len(self.groups)


def ask_all(client: Client) -> list[Report]:
    """Ask every node that is known, and every further one that a member list gives a URL for."""
    reports: list[Report] = []
    waiting = list(client.nodes)
    asked: set[str] = set()
    while waiting and len(asked) < NODES_ASKED_MAX:
        at = waiting.pop(0)
        if at.url in asked:
            continue
        asked.add(at.url)
        report = _ask(client.only(at), at)
        reports.append(report)
        names = {item.node.name for item in reports} | {item.name for item in waiting}
        members = (report.status or {}).get("members")
        found = map(_member, members) if isinstance(members, list) else ()
        waiting += [node for node in found if node is not None and node.name not in names]
    return sorted(reports, key=lambda report: (report.node.region, report.node.name, report.node.url))


def _ask(client: Client, at: ClusterNode) -> Report:
    try:
        answer: Answer = client.read(path("status"))
    except Refused as refused:
        if refused.status in {401, 403}:
            raise
        return Report(at, None, refused.message)
    except CommandFailed as failure:
        # Its first line below the message is the reason; the URL before it is in the table already.
        reason = failure.more[0] if failure.more else failure.message
        return Report(at, None, reason.removeprefix(f"{at.url}: "))
    body: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    named = ClusterNode(str(body.get("node") or at.name), str(body.get("region") or at.region), at.url)
    return Report(named, body, "")


def _member(member: object) -> ClusterNode | None:
    """Where a member can be asked; None if a node says nothing of the kind."""
    if not isinstance(member, dict) or not member.get("node") or not member.get("url"):
        return None
    try:
        url = checked_url(str(member["url"]))
    except click.UsageError:
        return None
    return ClusterNode(str(member["node"]), str(member.get("region") or ""), url)


def agreements_of(answered: list[Report]) -> list[Agreement]:
    """Per project, by name, who of them holds which state."""
    projects: dict[str, dict[tuple[str, str], list[str]]] = {}
    for report in answered:
        told = (report.status or {}).get("projects")
        for name, project in told.items() if isinstance(told, dict) else ():
            if not isinstance(project, dict):
                continue
            state = (str(project.get("vv_hash")), str(project.get("root_hash")))
            projects.setdefault(name, {}).setdefault(state, []).append(report.node.name or report.node.url)
    return [Agreement(name, projects[name]) for name in sorted(projects)]
