"""Logs: one line an event, the node's own time, and nothing in them that opens anything."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from vexil.node.logs import DEPTH_MAX, REDACTED, configure_logs, get_logger

KEY = "vxa_root_0123456789abcdef0123456789abcdef"
SECRET = "no-known-form-abcdef"


class FixedClock:
    def wall_ms(self) -> int:
        return 1_700_000_000_123


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logs(clock=FixedClock(), stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_the_nodes_time(stream: io.StringIO) -> None:
    get_logger(node="eu-1").info("ready", projects=2, list=[1, {"a": None}], weird=object)
    (line,) = lines(stream)
    assert line["time"] == "2023-11-14T22:13:20.123Z"
    assert (line["event"], line["level"], line["node"], line["projects"]) == ("ready", "info", "eu-1", 2)
    assert line["list"] == [1, {"a": None}]


@pytest.mark.parametrize(
    "facts",
    [
        {"authorization": SECRET},
        {"Authorization": f"Bearer {KEY}"},
        {"x-api-key": SECRET},
        {"key": SECRET},
        {"cluster_secret": SECRET},
        {"token": SECRET},
        {"ticket": SECRET},
        {"cookie": [SECRET]},
        {"detail": f"refused {KEY}, sorry"},
        {"detail": f'{{"key":"{KEY}"}}'},
        {"detail": KEY.replace("vxa_root_", "vxs_")},
        {"url": f"/ofrep/v1/sse?ticket={SECRET}"},
        {"url": f"https://x/?a=1&token={SECRET}&b=2"},
        {"raw": KEY.encode()},
        {"deep": [{"inner": ({"headers": {"Authorization": SECRET}, "text": KEY},)}]},
        {"error": ValueError(KEY)},
        {"header": "Bearer abcdef0123456789abcdef"},
    ],
)
def test_nothing_that_opens_anything_is_in_a_line(stream: io.StringIO, facts: dict[str, object]) -> None:
    get_logger().warning("something", **facts)
    assert "abcdef" not in stream.getvalue()
    assert REDACTED in stream.getvalue()


def test_what_is_nested_beyond_a_depth_is_not_in_a_line(stream: io.StringIO) -> None:
    def nested(levels: int) -> object:
        value: object = ["innermost"]
        for _ in range(levels - 1):
            value = [value]
        return value

    get_logger().info("within", detail=nested(DEPTH_MAX))
    get_logger().info("beyond", detail=nested(DEPTH_MAX + 1))
    get_logger().info("far beyond", detail=nested(100_000))
    within, *beyond = stream.getvalue().splitlines()
    assert "innermost" in within
    assert all("innermost" not in line and REDACTED in line for line in beyond)


def test_the_public_id_of_a_key_stays(stream: io.StringIO) -> None:
    get_logger().info("made", detail=f"key {KEY}")
    (line,) = lines(stream)
    assert line["detail"] == f"key vxa_root_{REDACTED}"


def test_what_went_wrong_is_on_the_same_line_and_clean(stream: io.StringIO) -> None:
    try:
        raise ZeroDivisionError(f"with {KEY}")
    except ZeroDivisionError as error:
        get_logger().error("failed", exc_info=error)
    (line,) = lines(stream)
    assert "ZeroDivisionError" in str(line["exception"])
    assert "abcdef" not in stream.getvalue()


def test_loggers_of_the_standard_library_go_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("hypercorn.error").warning("slots %s with %s", 3, KEY)
    try:
        raise ZeroDivisionError(KEY)
    except ZeroDivisionError:
        logging.getLogger("x").exception("broken")
    first, second = lines(stream)
    assert first["event"] == f"slots 3 with vxa_root_{REDACTED}"
    assert first["time"] == "2023-11-14T22:13:20.123Z"
    assert first["level"] == "warning"
    assert "ZeroDivisionError" in str(second["exception"])
    assert "abcdef" not in stream.getvalue()


def test_a_terminal_gets_key_and_value() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logs(clock=FixedClock(), stream=stream, json_lines=False)
        get_logger().info("ready", b=2, a="x y")
        assert stream.getvalue() == "time='2023-11-14T22:13:20.123Z' level='info' event='ready' a='x y' b=2\n"
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
