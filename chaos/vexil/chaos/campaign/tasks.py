"""What the processes of a campaign are asked for: a run, its trace, a failing one on disk, the same made smaller.

The one idea: arguments and results are plain data, and small. What is large (a history, a timeline) goes to disk here
and is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final

from vexil.chaos.campaign.summary import Kept, Summary, summary_of
from vexil.chaos.reports import artefact as artefacts
from vexil.chaos.reports.artefact import Artefact, version
from vexil.chaos.reports.replay import artefact_of, planting, replay, violated
from vexil.chaos.reports.shrinking import Shrunk, shrink, size_of
from vexil.chaos.reports.timeline import timeline
from vexil.chaos.reports.timeline_html import page
from vexil.chaos.run.simulation import Report, simulate
from vexil.chaos.run.swarm import plan

SHRINK_CPU_S: Final = 240.0
"""So long is a failing run made smaller; what it is by then is kept."""


def run_seed(seed: int, planted: str) -> Summary:
    """The run of ``seed``, under what is called ``planted`` ("": nothing)."""
    with planting(planted):
        return summary_of(simulate(seed))


def trace_of(seed: int, planted: str) -> str:
    """The hash of the trace of the same run."""
    with planting(planted):
        return simulate(seed).trace_hash


def keep(seed: int, planted: str, folder: str, *, judged: bool) -> Kept:
    """Write the run to ``folder``, with its timelines; if it could not be ``judged``, its plan alone."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / f"seed-{seed}{'-' if planted else ''}{planted}.json"
    found = f"vexil chaos sim --seeds {seed}{' --planted ' if planted else ''}{planted}"
    if not judged:
        artefacts.write(path, Artefact(plan(seed), planted=planted, version=version(), found=found))
        return Kept(str(path))
    with planting(planted):
        report = simulate(seed, keep_trace=True)
    artefacts.write(path, artefact_of(report, planted=planted, found=found))
    return Kept(str(path), _write_timelines(path, report), str(size_of(report.plan)))


def make_smaller(path: str) -> Kept:
    """Write a smaller run that fails in the same way in the place of an artefact."""
    file = Path(path)
    before = artefacts.read(file)
    shrunk = shrink(
        before.plan,
        lambda smaller: violated(smaller, planted=before.planted),
        now_s=time.process_time,
        time_limit_s=SHRINK_CPU_S,
    )
    remarks = remarks_on(shrunk)
    found = "; ".join((f"{before.found}, made smaller: it had {shrunk.before}", *remarks))
    after = replay(replace(before, plan=shrunk.plan), keep_trace=True)
    artefacts.write(file, artefact_of(after.report, planted=before.planted, found=found))
    return Kept(path, _write_timelines(file, after.report), f"{shrunk.after} (of {shrunk.before})", remarks)


def remarks_on(shrunk: Shrunk) -> tuple[str, ...]:
    """What somebody has to know who looks at a run that was made smaller."""
    return (
        *(() if shrunk.complete else ("a bound was reached: it can perhaps be made smaller still",)),
        *(f"a trial ended with {error}" for error in shrunk.raised),
    )


def tell_history(module: str, name: str, planted: str) -> list[str]:
    """What did not hold in the history of ``name``, told under ``planted``: nothing if there is no such history.

    ``module`` has them as ``HISTORIES``, by name: functions that raise if anything is wrong.
    """
    histories: Mapping[str, Callable[[], object]] = import_module(module).HISTORIES
    if name not in histories:
        return []
    with planting(planted):
        try:
            histories[name]()
        except Exception as error:  # noqa: BLE001 - whatever it raises is how it says no
            return [f"{type(error).__name__}: {error}"]
    return [""]


def _write_timelines(artefact: Path, report: Report) -> tuple[str, ...]:
    text, html = artefact.with_suffix(".txt"), artefact.with_suffix(".html")
    text.write_text(timeline(report, file=str(artefact)), encoding="utf-8")
    html.write_text(page(report, file=str(artefact)), encoding="utf-8")
    return (str(text), str(html))
