"""A process of a campaign: reads calls from standard input, one a line, and answers each with a line.

The one idea: a run that hangs, dies or leaks takes its process with it and nothing else. What is called is named by
``module:function`` and gets its arguments by name, as JSON; the answer is whatever JSON can be made of its result.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from traceback import format_exc
from typing import Any, Final

import msgspec

ORPHAN_GRACE_S: Final = 10
"""Whoever started this process ends it when a call takes too long. If he is gone, an alarm does, so much later."""


class Call(msgspec.Struct):
    """One line in."""

    task: str
    """``module:function``."""
    limit_s: float
    """How long it may take."""
    arguments: dict[str, Any] = {}


class Answer(msgspec.Struct):
    """One line out."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    raised: str = ""
    """The traceback, if it raised: then the process may be left in any state."""


def main() -> None:
    """Answer until there are no more calls."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever prints must not come between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin.buffer:
        call = msgspec.json.decode(line, type=Call)
        signal.alarm(int(call.limit_s) + ORPHAN_GRACE_S)
        answers.write(msgspec.json.encode(_answer(call)) + b"\n")
        answers.flush()
        signal.alarm(0)


def _answer(call: Call) -> Answer:
    try:
        module, _, name = call.task.partition(":")
        result = getattr(import_module(module), name)(**call.arguments)
        return Answer(result=msgspec.Raw(msgspec.json.encode(result)))
    except Exception:  # noqa: BLE001 - the caller is told, whatever it was
        return Answer(raised=format_exc())


if __name__ == "__main__":
    main()
