"""What is said after a write: which change it became, or that there was nothing to write.

The one idea: a person who has written something is told what it can be called in the history, and how durable it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vexil.node.cli.client import Answer
from vexil.node.cli.errors import Refused
from vexil.node.cli.output import differences, plain, say, show_json
from vexil.node.cli.settings import Settings

DIFFERENCES_SHOWN_MAX = 50


def show_written(settings: Settings, answer: Answer, sentence: str) -> None:
    """Print ``sentence`` and the change, or the node's whole answer as JSON."""
    if settings.as_json:
        show_json(answer.body if answer.body is not None else {})
        return
    body = answer.body if isinstance(answer.body, dict) else {}
    if "change" in body and body["change"] is None:
        say(f"{plain(sentence)}: it was so already, nothing was written")
        return
    say(f"{plain(sentence)}{_change(body.get('change'))}")


@contextmanager
def made_against(seen: object) -> Iterator[None]:
    """Around a write on top of ``seen``, what its author has read: a 412 says what has changed since then."""
    try:
        yield
    except Refused as refused:
        if refused.status == 412:
            refused.explained(_since(seen, refused.problem.get("current")))
        raise


def _since(seen: object, current: object) -> list[str]:
    if current is None:
        return ["it does not exist any more"]
    # A conflict list or an ETag of one's own is not what the author had in mind.
    changed = differences(_bare(seen), _bare(current))
    lines = ["changed since it was read (then → now):", *changed[:DIFFERENCES_SHOWN_MAX]] if changed else []
    return [*lines, "look at it again and repeat the command if you still want it"]


def _bare(document: object) -> object:
    return {k: v for k, v in document.items() if k != "change"} if isinstance(document, dict) else document


def _change(change: Any) -> str:
    if not isinstance(change, dict):
        return ""
    durability = f", durable at: {plain(change['durability'])}" if change.get("durability") else ""
    return f" (change {plain(change.get('id'))}{durability})"
