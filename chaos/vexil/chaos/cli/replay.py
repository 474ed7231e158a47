"""``vexil chaos replay``: one run once more, and whether it is as it was."""

from __future__ import annotations

from pathlib import Path

import click

from vexil.chaos.reports.artefact import Artefact, BadArtefact, read
from vexil.chaos.reports.replay import Replayed
from vexil.chaos.reports.replay import replay as run_again
from vexil.chaos.reports.timeline import timeline, violation_text
from vexil.chaos.reports.timeline_html import page
from vexil.node.cli.errors import EXIT_FAILED, CommandFailed
from vexil.node.cli.options import Command, pass_settings
from vexil.node.cli.output import plain, say, show_json
from vexil.node.cli.settings import Settings

_OUT = click.Path(dir_okay=False, path_type=Path)


@click.command("replay", cls=Command)
@click.argument("artefact", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--html", metavar="FILE", type=_OUT, help="Write the timeline as a page, too.")
@click.option("--trace", metavar="FILE", type=_OUT, help="Write every event of the run, a line each.")
@pass_settings
def replay(settings: Settings, *, artefact: Path, html: Path | None, trace: Path | None) -> None:
    """Run ARTEFACT again and print its timeline; exit code 1 if anything is violated, as it is in a failing test."""
    try:
        before = read(artefact)
        again = run_again(before, keep_trace=True)
    except BadArtefact as error:
        raise CommandFailed(str(error)) from error
    if html is not None:
        _write(html, page(again.report, file=str(artefact)))
    if trace is not None:
        _write(trace, "".join(again.report.trace) + _not_kept(again.report.trace_left_out, "event"))
    if settings.as_json:
        show_json(
            {
                "verdict": again.report.verdict.value,
                "violations": [violation_text(again.report, each) for each in again.report.violations],
                "planted": before.planted,
                "same_violation": again.same_violation,
                "same_trace": again.same_trace,
                "trace_hash": again.report.trace_hash,
            }
        )
    else:
        # Every line of it comes from names and values that were drawn; a file may say anything.
        for line in timeline(again.report, file=str(artefact)).splitlines():
            say(plain(line))
        say(f"\n{_compared(before, again)}")
    if again.report.violations:
        raise click.exceptions.Exit(EXIT_FAILED)


def _compared(before: Artefact, again: Replayed) -> str:
    """In a sentence."""
    now = again.report.violations[0].invariant if again.report.violations else ""
    if again.same_violation:
        outcome = f"{now} is violated, as it was" if now else "nothing is violated, as it was"
    else:
        outcome = f"{now or 'nothing'} is violated; it was {before.invariant or 'nothing'}"
    if not before.trace_hash:
        trace = "how the run went before was not written down"
    elif again.same_trace:
        trace = "every event was the same"
    else:
        trace = "not every event was the same: the program is another one, or the run is not repeatable"
    return f"{outcome}; {trace}" + (f" (planted: {plain(before.planted)})" if before.planted else "")


def _not_kept(count: int, what: str) -> str:
    """The last line of what was cut at its bound; nothing if all is there."""
    return f"{count:,} more {what}{'s' if count > 1 else ''}: no more are kept\n" if count else ""


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror or error}") from error
