"""Requests that no sane client sends, against a real node: it says what is wrong with them and goes on.

The one idea: whatever comes in over the wire, the fault is the sender's. An answer of 5xx, a traceback in the log or a
node that no longer answers would say that it is ours.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import CONFLICTS, FLAGS, HISTORY, NODES, Cluster

pytestmark = pytest.mark.xdist_group("e2e-malformed-requests")

AT = "us-2"
FLAG = f"{FLAGS}/victim"
ADMIN = "/api/v1"
PROJECT = f"{ADMIN}/projects/demo"
OFREP = "/ofrep/v1/evaluate/flags"
SOCKET_S = 10.0
DEEP = "[" * 100_000 + "]" * 100_000
LONG = "k" * 5_000

BODIES: list[bytes] = [
    b"",
    b"null",
    b"5",
    b'"text"',
    b"[]",
    b"{",
    b"\x00",
    b"\xff\xfe{}",
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 5_000 + b"}",
    b'{"a": "\\ud800"}',
    b'{"key": "\\ud800"}',
    b'{"\\ud800": 1}',
    b'{"key": "\\u0000"}',
    b'{"key": 5, "key": 6}',
    DEEP.encode(),
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"key": null, "type": null, "variants": null, "environments": null}',
    b'{"key": {}, "type": [], "variants": 5, "environments": "prod", "tags": {}, "prerequisites": 1}',
    b'{"variants": {"on": {"a": [[[[[[[[]]]]]]]]}}, "environments": {"prod": 7, "nowhere": {}}}',
    b'{"environments": {"prod": {"rules": [null, 5, {"id": {}}, {"if": {"var": {"var": []}}, "serve": 7}]}}}',
    b'{"environments": {"prod": {"rules": [{"id": "r", "if": true, "split": [["on", -1], ["on"], 5, null]}]}}}',
    b'{"environments": {"prod": {"targeting": {"if": {"if": {"if": []}}}, "metadata": {"a": {"b": []}}}}}',
    b'{"operations": [null, {}, {"op": 5}, {"op": "patch", "flag": "victim", "patch": 5}], "message": {}}',
    b'{"operations": {"op": "delete"}, "message": 5}',
    b'{"choose": 5, "value": {}}',
    b'{"add": 5, "remove": [null, {}, 5]}',
    b'{"kind": "owner", "role": [], "project": {}, "environment": 5, "name": null}',
    b'{"flags": [], "$evaluators": 5, "metadata": []}',
    b'{"flags": {"\\u0000": 5, "a": null, "b": {"state": 5, "variants": [], "targeting": "x"}}}',
    b'{"context": {"targetingKey": {}, "a": "\\ud800"}}',
    b'{"environments": "prod", "bucketing": []}',
    b'{"a": "us", "b": 5, "state": "broken"}',
]
TARGETS: list[tuple[str, str]] = [
    ("POST", FLAGS),
    ("PATCH", FLAG),
    ("POST", f"{FLAG}/environments/prod/unkill"),
    ("POST", f"{FLAG}/explain?environment=prod"),
    ("POST", f"{PROJECT}/changes"),
    ("PUT", f"{PROJECT}/segments/s"),
    ("PATCH", f"{PROJECT}/segments/s"),
    ("POST", f"{PROJECT}/segments/s/members"),
    ("PUT", f"{PROJECT}/environments/prod/flagd"),
    ("POST", f"{PROJECT}/import?environment=dev&dry_run=true"),
    ("POST", f"{CONFLICTS}/0123456789abcdef/resolve"),
    ("PUT", f"{ADMIN}/projects/malformed"),
    ("POST", f"{ADMIN}/keys"),
    ("POST", f"{ADMIN}/dev/links"),
]
OFREP_TARGETS = [
    ("POST", OFREP),
    ("POST", f"{OFREP}/victim"),
    ("POST", f"{OFREP}/a/b%2Fc"),
    ("POST", f"{OFREP}/%ff"),
]
PATHS: list[tuple[str, str]] = [
    ("GET", f"{FLAGS}/%00"),
    ("GET", f"{FLAGS}/%ff%fe"),
    ("GET", f"{FLAGS}/{LONG}"),
    ("GET", f"{FLAGS}/..%2F..%2F"),
    ("GET", f"{FLAGS}/-"),
    ("DELETE", f"{FLAGS}/%F0%9F%98%80"),
    ("GET", f"{ADMIN}/projects/nowhere/flags"),
    ("PUT", f"{ADMIN}/projects/_mine"),
    ("GET", f"{PROJECT}/environments/nowhere/flagd"),
    ("POST", f"{FLAG}/environments/nowhere/kill"),
    ("POST", f"{FLAG}/environments/%00/kill"),
    ("GET", f"{FLAGS}?page_size=0"),
    ("GET", f"{FLAGS}?page_size=many"),
    ("GET", f"{FLAGS}?page_size=99999999999999999999"),
    ("GET", f"{FLAGS}?page_token=%00"),
    ("GET", f"{FLAGS}?page_token={LONG}"),
    ("GET", f"{FLAGS}?archived=perhaps"),
    ("GET", f"{FLAGS}?unknown=1"),
    ("GET", f"{FLAGS}?page_size=1&page_size=2"),
    ("GET", f"{HISTORY}?after=yesterday"),
    ("GET", f"{HISTORY}?until=2026-99-99T99:99:99Z"),
    ("GET", f"{HISTORY}?page_token=!!!"),
    ("GET", f"{HISTORY}?after=%ff"),
    ("GET", f"{CONFLICTS}?page_token=%ff"),
    ("GET", f"{PROJECT}/export"),
    ("GET", f"{PROJECT}/export?environment=nowhere"),
    ("POST", f"{PROJECT}/import?environment=prod&mode=both"),
    ("DELETE", f"{ADMIN}/keys/nobody"),
    ("GET", f"{ADMIN}/nothing"),
    ("PUT", FLAG),
    ("BREW", FLAG),
]
HEADERS: list[dict[str, str]] = [
    {"Vexil-Token": "rubbish"},
    {"Vexil-Token": "kwGkZGVtb8QLks8vRflUwUoe8gI="},
    {"Vexil-Token": "A" * 6_000},
    {"Vexil-Durability": "eternal"},
    {"Idempotency-Key": "k" * 129},
    {"Idempotency-Key": "two words"},
    {"Idempotency-Key": "ok", "Vexil-Change": "rubbish"},
    {"Vexil-Change": "00000000deadbeef:1"},
    {"Idempotency-Key": "ok", "Vexil-Change": "00000000deadbeef:99999999999999999999999"},
    {"If-Match": "unquoted"},
    {"If-Match": '"' + "A" * 6_000 + '"'},
    {"If-Match": '"gICAgICA"'},
]
EVALUATION = b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: a\r\n"
RAW: dict[str, bytes] = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "no version": b"GET /healthz\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two lengths": EVALUATION + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
    "bad length": EVALUATION + b"Content-Length: -5\r\n\r\n",
    "bad chunk": EVALUATION + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "length and chunks": EVALUATION + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "huge header": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "header bytes": b"GET /healthz HTTP/1.1\r\nHost: a\r\nX\x00: \xff\xfe\r\n\r\n",
    "path bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "endless path": b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute form": b"GET http://elsewhere.example/api/v1/status HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n",
    "key bytes": b"GET /api/v1/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    "upgrade": b"GET /sdk/v1/stream HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "half a body": EVALUATION + b"Content-Length: 100\r\n\r\n{",
}


@pytest.fixture(autouse=True)
def node(cluster: Cluster) -> Iterator[None]:
    """The node goes on, has logged no traceback and no error of its own, and shows what it did before."""
    if not cluster.ask(AT, "GET", FLAG).is_success:
        cluster.create(AT, "victim")
        cluster.settle()
    pid = cluster.runs(AT)
    before, start = cluster.done(AT, "GET", FLAG), len(cluster.log(AT))
    yield
    assert cluster.runs(AT) == pid
    assert cluster.ask(AT, "GET", "/readyz").is_success
    assert cluster.done(AT, "GET", FLAG) == before
    said = cluster.log(AT)[start:]
    assert "Traceback" not in said
    assert not [line for line in said.splitlines() if '"level": "error"' in line or not line.startswith("{")]


def sent(
    cluster: Cluster, method: str, path: str, body: bytes | None = None, **more: Any
) -> tuple[int, bytes, str]:
    """Status, body and content type of the answer to one request that is sent byte for byte."""
    key = more.get("key", "admin")
    head = {
        "Host": "a",
        "Connection": "close",
        "Authorization": f"Bearer {cluster.file['keys'][key]}",
        **more.get("headers", {}),
    }
    if body is not None:
        head |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    answer = exchanged(cluster, "\r\n".join([*lines, "", ""]).encode() + (body or b""))
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    assert found, (method, path, body, answer[:200])
    top, _, rest = answer.partition(b"\r\n\r\n")
    kind = re.search(rb"(?i)^content-type: *([^\r;]*)", top, re.MULTILINE)
    return int(found[1]), rest, kind[1].decode() if kind else ""


def exchanged(cluster: Cluster, raw: bytes, *, close: bool = False) -> bytes:
    """All that the node sends back for ``raw`` until it closes, or says nothing for a moment."""
    host, _, port = cluster.url(AT).rpartition("//")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=SOCKET_S) as connection:
        received = b""
        try:
            connection.sendall(raw)
            if close:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        except OSError:
            pass  # a refusal may be cut short while we still send
        return received


def is_refusal(status: int, body: bytes, kind: str) -> bool:
    """Whether an answer is a refusal that says what is wrong, in the one form that all of them have."""
    if not 400 <= status < 500 or kind != "application/problem+json":
        return False
    problem = json.loads(body)
    return (
        problem.keys() >= {"type", "title", "status", "detail", "code", "definite"}
        and problem["status"] == status
    )


@pytest.mark.parametrize(("method", "path"), TARGETS)
def test_a_body_that_makes_no_sense_is_refused(cluster: Cluster, method: str, path: str) -> None:
    for body in BODIES:
        status, text, kind = sent(cluster, method, path, body)
        if 200 <= status < 300:
            # Nothing in it was wrong for this one: then it has changed nothing that matters here.
            json.loads(text)
            continue
        assert is_refusal(status, text, kind), (body[:80], status, kind, text[:300])


@pytest.mark.parametrize(("method", "path"), OFREP_TARGETS)
def test_an_evaluation_that_makes_no_sense_is_refused_as_ofrep_says(
    cluster: Cluster, method: str, path: str
) -> None:
    for body in BODIES:
        status, text, _ = sent(cluster, method, path, body, key="server")
        assert status in {200, 400, 404, 413}, (body[:80], status, text[:300])
        answer = json.loads(text)
        if status in {400, 404}:
            assert answer["errorCode"]
            assert answer["errorDetails"]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_a_path_that_names_nothing_is_refused(cluster: Cluster, method: str, path: str) -> None:
    status, text, kind = sent(cluster, method, path, b"{}" if method in {"POST", "PUT"} else None)
    assert is_refusal(status, text, kind), (status, kind, text[:300])


def test_a_time_to_wait_that_is_no_number_is_refused(cluster: Cluster) -> None:
    token = cluster.ask(AT, "GET", FLAG).headers["Vexil-Token"]
    for wait in ("soon", "-1", "1e3", "10001"):
        headers = {"Vexil-Token": token, "Vexil-Wait-Ms": wait}
        status, text, kind = sent(cluster, "GET", FLAG, headers=headers)
        assert is_refusal(status, text, kind) or (wait == "10001" and status == 200), (
            wait,
            status,
            text[:300],
        )


@pytest.mark.parametrize("headers", HEADERS, ids=",".join)
def test_a_header_that_makes_no_sense_is_refused(cluster: Cluster, headers: dict[str, str]) -> None:
    status, text, kind = sent(cluster, "PATCH", FLAG, b'{"description": ""}', headers=headers)
    assert is_refusal(status, text, kind), (status, kind, text[:300])


def test_a_body_over_the_limit_is_refused_and_the_connection_survives_or_ends(cluster: Cluster) -> None:
    body = b'{"description": "' + b"x" * (3 << 20) + b'"}'
    status, text, kind = sent(cluster, "PATCH", FLAG, body)
    assert is_refusal(status, text, kind)
    assert (status, json.loads(text)["code"].partition(".")[0]) == (413, "limit")


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_hardly_http_do_no_harm(cluster: Cluster, name: str) -> None:
    answer = exchanged(cluster, RAW[name], close=True)
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    assert found is None or int(found[1]) < 500, answer[:300]


@pytest.mark.parametrize("size", [0, 1_000, 200_000, 3 << 20])
def test_a_connection_that_its_sender_wants_closed_is_closed_after_the_answer(
    cluster: Cluster, size: int
) -> None:
    head = f"POST {OFREP} HTTP/1.0\r\nAuthorization: Bearer {cluster.file['keys']['server']}\r\n"
    body = b'{"context": {"a": "' + b"x" * size + b'"}}'
    host, _, port = cluster.url(AT).rpartition("//")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=SOCKET_S) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = b""
        while part := connection.recv(65_536):
            received += part
    assert int(received.split()[1]) in {200, 400, 413}


def test_connections_that_say_nothing_or_go_away_do_no_harm(cluster: Cluster) -> None:
    host, _, port = cluster.url(AT).rpartition("//")[2].partition(":")
    silent = [socket.create_connection((host, int(port)), timeout=SOCKET_S) for _ in range(100)]
    try:
        for number, connection in enumerate(silent):
            connection.sendall(b"POST /api/v1/projects HTTP/1.1\r\nHost: a\r\nContent-Le"[: number % 40])
        assert cluster.ask(AT, "GET", "/healthz").is_success
    finally:
        for connection in silent:
            connection.close()


def test_after_all_of_it_the_nodes_still_agree(cluster: Cluster) -> None:
    cluster.settle()
    alarms = [cluster.status(name)["alarms"] for name in NODES]
    assert [sum(alarm.values()) for alarm in alarms] == [0] * len(NODES)
