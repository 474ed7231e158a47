"""``vexil status`` and ``vexil node``: how the nodes are, and starting one.

The one idea of ``status``: a node's word for itself is not enough. Every node that can be reached is asked, and their
answers are compared: equal version vectors with other root hashes is an alarm, a node that cannot be reached is said
to be so, and what is behind is never shown as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from vexil.node.cli.client import Client
from vexil.node.cli.errors import EXIT_FAILED, Unreachable
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import plain, say, show_json, table
from vexil.node.cli.reports import Agreement, Report, agreements_of, ask_all
from vexil.node.cli.settings import Settings

HASH_SHOWN = 10


@click.command(cls=Command)
@click.option("--check", is_flag=True, help="Exit with 1 unless all nodes are ready and hold the same.")
@pass_settings
def status(settings: Settings, *, check: bool) -> None:
    """Show every node of the cluster: state, version, lag, conflicts."""
    with Client.of(settings) as client:
        reports = ask_all(client)
    answered = [report for report in reports if report.status is not None]
    if not answered:
        raise Unreachable(
            "no node can be reached" if len(reports) > 1 else "the node cannot be reached",
            more=[
                *(f"{report.node.url}: {report.failure}" for report in reports),
                "start a cluster with `vexil dev`, or one node with `vexil node --config node.toml`",
            ],
        )
    agreements = agreements_of(answered)
    troubles = _troubles(reports, agreements)
    if settings.as_json:
        show_json(_document(reports, agreements, troubles))
    else:
        _show(reports, agreements, troubles)
    if check and troubles:
        raise click.exceptions.Exit(EXIT_FAILED)


@click.command(cls=Command)
@click.option(
    "--config",
    "config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The node's node.toml.",
)
def node(config: Path) -> NoReturn:
    """Run one node in the foreground until Ctrl-C or SIGTERM."""
    sys.stdout.flush()
    # In place of this process: signals, exit code and process id are the node's own.
    os.execv(sys.executable, [sys.executable, "-m", "vexil.node", "--config", str(config)])  # noqa: S606


_STANDINGS: Final = {
    "evicted": "was evicted: `vexil member return --node {url}` brings it back",
    "restored": "runs on an older copy of its folder: it waits for a peer's state",
    "unknown": "is known to nobody whom it reaches: soon it begins anew by itself, with its writes",
}


def _troubles(reports: list[Report], agreements: list[Agreement]) -> list[str]:
    """Everything that keeps the cluster from being well, worst first."""
    troubles = [
        f"ALARM: in {item.project} nodes have seen the same changes and hold different states"
        for item in agreements
        if item.forked
    ]
    for report in reports:
        name = report.node.name or report.node.url
        if report.status is None:
            troubles.append(f"{name} cannot be reached: {report.failure}")
        else:
            troubles += _troubles_of(name, report.node.url, report.status)
    troubles += [
        f"nodes hold different versions of {item.project}" for item in agreements if not item.converged
    ]
    return troubles


def _troubles_of(name: str, url: str, status: Mapping[str, Any]) -> Iterator[str]:
    """What one node says of itself that is not well."""
    if not status.get("ready"):
        yield f"{name} is not ready"
    standing = _STANDINGS.get(str(status.get("standing")))
    if standing is not None:
        yield f"{name} {standing.format(url=url)}"
    if (status.get("clock") or {}).get("suspect"):
        yield f"{name} suspects its own clock"
    store = status.get("store") or {}
    if store.get("state") not in {None, "available"}:
        yield f"{name}: its store is {store.get('state')}"
    damaged = _count(store.get("damaged_records"))
    if damaged:
        yield f"ALARM: {name} has found {damaged} damaged records in its log"
    stale = status.get("stale_regions") or []
    if stale:
        yield f"{name} has not heard lately from {', '.join(stale)}: what it shows may be old"
    for kind, count in (status.get("alarms") or {}).items():
        if count:
            yield f"ALARM: {name} has counted {count} {kind}"
    for project, numbers in (status.get("projects") or {}).items():
        quarantined = _count(numbers.get("quarantined"))
        if quarantined:
            yield f"{name}: {quarantined} quarantined in {project}"


def _document(reports: list[Report], agreements: list[Agreement], troubles: list[str]) -> dict[str, Any]:
    return {
        "nodes": [
            {
                "node": report.node.name,
                "region": report.node.region,
                "url": report.node.url,
                "reached": report.status is not None,
                **({"error": report.failure} if report.status is None else {"status": report.status}),
            }
            for report in reports
        ],
        "projects": {
            item.project: {
                "converged": item.converged,
                "forked": item.forked,
                "states": [
                    {"vv_hash": vv, "root_hash": root, "nodes": sorted(names)}
                    for (vv, root), names in sorted(item.groups.items())
                ],
            }
            for item in agreements
        },
        "troubles": troubles,
    }


def _show(reports: list[Report], agreements: list[Agreement], troubles: list[str]) -> None:
    reached = sum(report.status is not None for report in reports)
    say(f"{reached} of {len(reports)} nodes reached\n")
    rows = [_row(report) for report in reports]
    say(table(["node", "region", "url", "state", "store", "clock", "behind", "as of", "lag p99"], rows))
    rows = []
    for item in agreements:
        for (vv, root), names in sorted(item.groups.items(), key=lambda group: -len(group[1])):
            numbers = _numbers(reports, item.project, names)
            verdict = "same everywhere" if item.converged else "FORKED" if item.forked else "differs"
            rows.append(
                [item.project, verdict, vv[:HASH_SHOWN], root[:HASH_SHOWN], *numbers, " ".join(sorted(names))]
            )
    if rows:
        say("")
        headings = ["project", "state", "vv", "root", "flags", "changes", "conflicts", "nodes"]
        say(table(headings, rows))
    if troubles:
        say("")
        for trouble in troubles:
            say(f"! {plain(trouble)}")


def _row(report: Report) -> list[object]:
    name, region, url = report.node.name or "?", report.node.region, report.node.url
    if report.status is None:
        return [name, region, url, "UNREACHABLE", "", "", "", "", ""]
    store, clock = report.status.get("store") or {}, report.status.get("clock") or {}
    backlog = store.get("backlog")
    parts = [store.get("kind"), store.get("state"), f"backlog {backlog}" if backlog else ""]
    return [
        name,
        region,
        url,
        "ready" if report.status.get("ready") else "NOT READY",
        " ".join(str(part) for part in parts if part),
        f"{clock.get('offset_ms', 0)} ms{' SUSPECT' if clock.get('suspect') else ''}",
        _behind(report.status.get("members") or []),
        _ages(report.status),
        _lag(report.status.get("lag_ms") or {}),
    ]


def _behind(members: list[dict[str, Any]]) -> str:
    """How far this node knows itself or others to be behind, worst first; members that went silent are named."""
    notes = []
    for member in members:
        changes, state = _count(member.get("behind_changes")), member.get("state")
        if changes:
            notes.append(
                (changes, f"{member.get('node')}: {changes} changes, {member.get('behind_ms', '?')} ms")
            )
        elif state not in {None, "alive", "self"}:
            notes.append((0, f"{member.get('node')}: {state}"))
    return "; ".join(note for _, note in sorted(notes, reverse=True)) or "no"


def _ages(status_of_node: dict[str, Any]) -> str:
    """How old its knowledge of each region is; what is too old to be called current is marked."""
    stale = status_of_node.get("stale_regions") or []
    ages = status_of_node.get("as_of_age_ms") or {}
    return ", ".join(
        f"{region} {'never heard' if age is None else f'{age} ms'}{' STALE' if region in stale else ''}"
        for region, age in sorted(ages.items())
    )


def _lag(lag: dict[str, Any]) -> str:
    return ", ".join(
        f"{region} {numbers.get('p99')} ms"
        for region, numbers in sorted(lag.items())
        if isinstance(numbers, dict)
    )


def _numbers(reports: list[Report], project: str, names: list[str]) -> list[object]:
    """Flags, changes and conflicts as the first of the named nodes counts them; equal states count the same."""
    for report in reports:
        if report.status is not None and (report.node.name or report.node.url) in names:
            found = (report.status.get("projects") or {}).get(project) or {}
            return [_count(found.get(name)) for name in ("flags", "changes", "conflicts")]
    return ["", "", ""]


def _count(value: Any) -> int:
    """How many: told by the node as a number or as the list of names."""
    return len(value) if isinstance(value, (list, dict)) else int(value or 0)
