"""What ends a command early, and the exit code that each ending has.

The one idea: a script must be able to tell "it was not done" from "nobody knows". So there are exactly four exit
codes, and what the node says is shown as it was said: title, detail, code, and the path of every single mistake::

    click.ClickException
    ├── click.UsageError   2   the command line makes no sense
    └── CommandFailed      1   it was not done
        ├── Unreachable    1   no node took the request, so nothing was written
        ├── Refused        1   a node answered no
        └── OutcomeUnknown 3   a write was sent, and whether it happened is not known
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any

import click

from vexil.node.cli.output import plain

EXIT_FAILED = 1
EXIT_OUTCOME_UNKNOWN = 3


class CommandFailed(click.ClickException):
    """Root: ``message`` is the first line, ``more`` the lines below it, ``document`` what ``--json`` shows."""

    exit_code = EXIT_FAILED
    code = "cli.failed"

    def __init__(
        self, message: str, *, more: Sequence[str] = (), document: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.more = tuple(more)
        self.document = dict(document or {})
        self.as_json = False

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it to standard error: sentences for people, one JSON object on one line for ``--json``."""
        if self.as_json:
            document = {
                "code": self.code,
                "detail": self.message,
                **self.document,
                "exit_code": self.exit_code,
            }
            click.echo(json.dumps(document, ensure_ascii=False), file=file, err=file is None)
            return
        click.echo(f"Error: {plain(self.message)}", file=file, err=file is None)
        for line in self.more:
            click.echo(f"  {plain(line)}", file=file, err=file is None)


class Unreachable(CommandFailed):
    """No node took the request; nothing was written."""

    code = "cli.unreachable"


class OutcomeUnknown(CommandFailed):
    """A write went out and nobody can say whether it happened."""

    exit_code = EXIT_OUTCOME_UNKNOWN
    code = "write.indeterminate"


class Refused(CommandFailed):
    """A node's ``problem+json``, or whatever else it answered instead of doing what was asked."""

    def __init__(self, *, status: int, problem: Mapping[str, Any], url: str) -> None:
        self.status = status
        self.problem = dict(problem)
        self.url = url
        self.retry_after_s: float | None = None
        self.problem_code = str(problem.get("code") or f"http.{status}")
        title = str(problem.get("title") or f"the node answered {status}")
        detail = str(problem.get("detail") or "")
        more = []
        errors = [error for error in _listed(problem) if isinstance(error, Mapping)]
        if errors:
            more += [f"{error.get('path') or '(body)'}: {error.get('detail', '')}" for error in errors]
        elif detail:
            more.append(detail)
        if status in {401, 403}:
            more.append("the key is taken from --key, VEXIL_KEY or the nearest cluster.json")
        more.append(f"({self.problem_code}, from {url})")
        super().__init__(
            title, more=more, document={"status": status, **self.problem, "code": self.problem_code}
        )

    def explained(self, lines: Sequence[str]) -> Refused:
        """This same refusal with ``lines`` said below it."""
        self.more = (*self.more, *lines)
        return self


def _listed(problem: Mapping[str, Any]) -> Sequence[Any]:
    errors = problem.get("errors")
    return errors if isinstance(errors, list) else ()
