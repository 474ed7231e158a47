"""Structured logs: one event name and its facts a line; JSON for machines, key=value for a terminal.

Two rules hold for every line, whoever wrote it: its time comes from the node's clock, and nothing in it opens
anything. Facts whose name says that they are secret are blotted out, and of an access key anywhere in a text only the
public id is left.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

from vexil.crdt.hlc import render_time
from vexil.node.seams import Clock

REDACTED: Final = "[redacted]"
DEPTH_MAX: Final = 8
_SECRET_NAME: Final = re.compile(
    r"authorization|cookie|api[-_]?key|secret|password|token|ticket|credential|^key$|^hash$", re.IGNORECASE
)
_KEY: Final = re.compile(
    r"(vx[asc]_[A-Za-z0-9][A-Za-z0-9.-]*)_[A-Za-z0-9_.~+/=-]+|vx[asc]_[A-Za-z0-9.~+/=-]{20,}"
)
_BEARER: Final = re.compile(r"(bearer\s+)[^\s\"',]+", re.IGNORECASE)
_TICKET: Final = re.compile(r"([?&](?:ticket|token|key)=)[^&\s\"']+", re.IGNORECASE)

Event = MutableMapping[str, Any]


def configure_logs(
    *, clock: Clock, stream: TextIO | None = None, json_lines: bool | None = None, level: int = logging.INFO
) -> None:
    """Send all logs of this process to ``stream`` (standard error); ``json_lines`` None: unless it is a terminal.

    Loggers of the standard library (the HTTP server's among them) go the same way.
    """
    stream = stream or sys.stderr
    if json_lines is None:
        json_lines = not stream.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _stamp(clock),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(default=repr)
        if json_lines
        else structlog.processors.KeyValueRenderer(key_order=["time", "level", "event"], sort_keys=True)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-2]],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def get_logger(**facts: object) -> Any:
    """A logger that says ``facts`` on every line; an implementation of `vexil.node.telemetry.Log`."""
    return structlog.get_logger(**facts)


def redact(_logger: object, _method: str, event: Event) -> Event:
    """Take out of ``event`` what opens something; a structlog processor."""
    for name in list(event):
        event[name] = REDACTED if _SECRET_NAME.search(name) else _clean(event[name], DEPTH_MAX)
    return event


def _clean(value: object, levels_left: int) -> object:
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, bytes):
        return _clean_text(value.decode("utf-8", "replace"))
    if value is None or isinstance(value, bool | int | float):
        return value
    if levels_left == 0:
        return REDACTED
    if isinstance(value, dict):
        return {
            str(name): REDACTED if _SECRET_NAME.search(str(name)) else _clean(item, levels_left - 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, levels_left - 1) for item in value]
    return _clean_text(repr(value))


def _clean_text(text: str) -> str:
    text = _KEY.sub(lambda found: f"{found[1]}_{REDACTED}" if found[1] else REDACTED, text)
    text = _BEARER.sub(rf"\1{REDACTED}", text)
    return _TICKET.sub(rf"\1{REDACTED}", text)


def _stamp(clock: Clock) -> Any:
    def stamp(_logger: object, _method: str, event: Event) -> Event:
        event["time"] = render_time(clock.wall_ms())
        return event

    return stamp
