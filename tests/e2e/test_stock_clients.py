"""OFREP as stock clients speak it, against any node of a running cluster: ``curl``, and OpenFeature's own provider."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx
import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.provider import AbstractProvider

from tests.e2e import generated_flags
from tests.e2e.cluster import FLAGS, NODES, PROJECT, Cluster
from tests.e2e.waiting import WITHIN_S
from tests.unit.sdk.documents import Reference
from vexil.sdk import Client as SdkClient
from vexil.sdk import FlagSet, Options
from vexil.sdk.openfeature import VexilProvider

pytestmark = pytest.mark.xdist_group("e2e-stock-clients")

EXAMPLES = Path(__file__).parents[2] / "deploy/examples/flags.json"
EXAMPLE = json.loads(EXAMPLES.read_text())
BULK = "/ofrep/v1/evaluate/flags"
SEGMENTS = f"/api/v1/projects/{PROJECT}/segments"
WAIT_S = "20"
FLAG_COUNT = 80
CONTEXT_COUNT = 50
DEFAULTS: dict[str, Any] = {"boolean": False, "string": "?", "integer": -1, "float": -1.5, "object": {"?": 1}}
"""Of no flag, but for the boolean one."""


class Heard(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """``curl`` with the server key; httpx, sending the same, where no curl is installed."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._curl = shutil.which("curl")

    def post(self, name: str, path: str, body: str, *headers: str, key: str | None = "server") -> Heard:
        url = self._cluster.url(name) + path
        sent = ["Content-Type: application/json", *headers]
        if key is not None:
            sent.append(f"Authorization: Bearer {self._cluster.file['keys'][key]}")
        if self._curl is None:
            fields = [(name, value) for name, _, value in (header.partition(": ") for header in sent)]
            answer = httpx.post(url, content=body.encode(), headers=fields, trust_env=False)
            return Heard(answer.status_code, dict(answer.headers), answer.text)
        options = [option for header in sent for option in ("--header", header)]
        done = subprocess.run(
            [self._curl, "--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", WAIT_S,
             "--request", "POST", *options, "--data-binary", body, url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        head, _, text = done.stdout.partition("\n\n")
        lines = head.splitlines()
        pairs = [line.split(": ", 1) for line in lines[1:]]
        return Heard(int(lines[0].split()[1]), {name.lower(): value for name, value in pairs}, text)


@pytest.fixture
def client(cluster: Cluster) -> Client:
    if "checkout.express" not in cluster.ask("eu-1", "GET", "/api/v1/projects/demo/flags").text:
        cluster.said("import", str(EXAMPLES), "--env", "prod")
        cluster.create("us-1", "for-browsers", client_visible=True)
        cluster.settle()
    return Client(cluster)


@pytest.mark.parametrize("name", NODES)
def test_one_flag_has_its_value_at_any_node(client: Client, name: str) -> None:
    reference = Reference(EXAMPLE)
    for context in (
        {"targetingKey": "u1", "email": "ann@shop.example"},
        {"targetingKey": "u7", "country": "DE", "account": {"id": "17", "kind": "business"}},
        {"targetingKey": "u9", "app": {"version": "5.3.1"}},
    ):
        for key, flag in EXAMPLE["flags"].items():
            heard = client.post(name, f"{BULK}/{key}", json.dumps({"context": context}))
            assert (heard.status, heard.headers["content-type"]) == (200, "application/json")
            answer = heard.json
            assert answer["key"] == key
            if flag["state"] == "DISABLED":
                # No value: the caller's code default applies.
                assert (answer["reason"], answer["variant"], "value" in answer) == ("DISABLED", "", False)
            else:
                assert (answer["value"], answer["variant"]) == reference.meaning(key, context)
                assert answer["metadata"].items() >= flag.get("metadata", {}).items()


def test_all_flags_are_the_same_bytes_with_the_same_etag_at_every_node(client: Client) -> None:
    # Without an organisation's clock in it: one flag of the example turns with the time.
    body = json.dumps({"context": {"targetingKey": "u1", "account": {"id": "4"}}})
    heard = [client.post(name, BULK, body) for name in NODES]
    assert len({(each.body, each.headers["etag"]) for each in heard}) == 1
    flags = {flag["key"]: flag for flag in heard[0].json["flags"]}
    assert list(flags) == sorted([*EXAMPLE["flags"], "for-browsers"])
    assert flags["support.banner"]["value"] == "", "an empty value is a value"
    assert "value" not in flags["reviews.summaries"]
    assert heard[0].json["metadata"] == EXAMPLE["metadata"]


def test_what_has_not_changed_is_not_sent_again_whichever_node_is_asked(
    client: Client, cluster: Cluster
) -> None:
    body = json.dumps({"context": {"targetingKey": "u1"}})
    etag = client.post("eu-1", BULK, body).headers["etag"]
    for name in NODES:
        for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            heard = client.post(name, BULK, body, f"If-None-Match: {condition}")
            assert (heard.status, heard.body, heard.headers["etag"]) == (304, "", etag)
    # Another context, another answer, whatever the caller still has.
    business = json.dumps({"context": {"targetingKey": "u1", "account": {"kind": "business"}}})
    heard = client.post("eu-1", BULK, business, f"If-None-Match: {etag}")
    assert heard.status == 200
    assert heard.headers["etag"] != etag
    cluster.patch("ap-1", "for-browsers", {"environments": {"prod": {"default": "off"}}})
    cluster.everywhere(lambda name: client.post(name, BULK, body, f"If-None-Match: {etag}").status == 200)


def test_a_browser_sees_only_what_is_meant_for_browsers(client: Client) -> None:
    body = json.dumps({"context": {"targetingKey": "u1"}})
    assert [flag["key"] for flag in client.post("us-2", BULK, body, key="client").json["flags"]] == [
        "for-browsers"
    ]
    hidden = client.post("us-2", f"{BULK}/support.banner", body, key="client")
    assert (hidden.status, hidden.json["errorCode"]) == (404, "FLAG_NOT_FOUND")
    asked = client.post("us-2", BULK, body, "Origin: https://shop.example", key="client")
    assert asked.headers["access-control-allow-origin"] in {"*", "https://shop.example"}
    assert "etag" in asked.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize("name", ["eu-2", "ap-1"])
def test_refusals_have_the_bodies_that_clients_read(client: Client, name: str) -> None:
    missing = client.post(name, f"{BULK}/no-such-flag", '{"context": {}}')
    assert missing.status == 404
    assert (missing.json["key"], missing.json["errorCode"]) == ("no-such-flag", "FLAG_NOT_FOUND")
    assert missing.json["errorDetails"]
    for body in (
        "{",
        '{"context": 5}',
        '{"context": []}',
        "[]",
        '"text"',
        "\ufeff",
        '{"context": {"a": NaN}}',
    ):
        for path, expected in ((f"{BULK}/support.banner", "support.banner"), (BULK, None)):
            bad = client.post(name, path, body)
            assert bad.status == 400, (path, body)
            assert bad.json["errorCode"] in {"INVALID_CONTEXT", "PARSE_ERROR"}
            assert bad.json["errorDetails"]
            assert bad.json.get("key") == expected
    for key in (None, "admin"):
        refused = client.post(name, BULK, "{}", key=key)
        assert refused.status == (401 if key is None else 403)
    wrong = client.post(name, BULK, "{}", "Authorization: Bearer vxs_x_y", key=None)
    assert wrong.status == 401
    by_other_header = client.post(
        name, f"{BULK}/support.banner", "{}", f"X-API-Key: {client._cluster.file['keys']['server']}", key=None
    )
    assert by_other_header.status == 200


def test_a_killed_flag_is_off_for_curl_at_every_node(client: Client, cluster: Cluster) -> None:
    cluster.create("ap-2", "switch")
    cluster.settle()
    body = json.dumps({"context": {"targetingKey": "u1"}})
    assert {client.post(name, f"{BULK}/switch", body).json["value"] for name in NODES} == {True}
    cluster.done("us-1", "POST", "/api/v1/projects/demo/flags/switch/environments/prod/kill")
    cluster.everywhere(lambda name: client.post(name, f"{BULK}/switch", body).json["reason"] == "DISABLED")
    for name in NODES:
        answer = client.post(name, f"{BULK}/switch", body).json
        assert (answer["value"], answer["variant"]) == (False, "off")


@pytest.fixture
def generated(cluster: Cluster) -> Iterator[FlagSet]:
    """Flags of every kind, made at one node and known at every node, and gone again afterwards."""
    flag_set = generated_flags.flag_set(Random(6), FLAG_COUNT)
    for key, segment in generated_flags.SEGMENTS.items():
        members = {"members": sorted(segment["members"]), "rules": segment["rules"]}
        cluster.done("eu-1", "PUT", f"{SEGMENTS}/{key}", members)
    for key, document in flag_set.flags.items():
        cluster.done("eu-1", "POST", FLAGS, generated_flags.body(key, document))
    cluster.settle()
    yield flag_set
    for key in reversed(list(flag_set.flags)):  # the later ones ask for the earlier ones
        cluster.done("eu-1", "DELETE", f"{FLAGS}/{key}")
    for key in generated_flags.SEGMENTS:
        cluster.done("eu-1", "DELETE", f"{SEGMENTS}/{key}")
    cluster.settle()


@contextmanager
def through_openfeature(provider: AbstractProvider, domain: str) -> Iterator[OpenFeatureClient]:
    api.set_provider_and_wait(provider, domain)
    try:
        yield api.get_client(domain)
    finally:
        api.shutdown()


def test_the_stock_provider_and_our_own_agree_on_every_flag_and_context(
    cluster: Cluster, generated: FlagSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    key = cluster.file["keys"]["server"]
    stock = OFREPProvider(
        cluster.url("us-1"), headers_factory=lambda: {"Authorization": f"Bearer {key}"}, timeout=WITHIN_S
    )
    sdk = SdkClient(cluster.url("ap-1"), key, options=Options(proxy_from_environment=False))
    asked = 0
    with (
        through_openfeature(stock, "stock") as theirs,
        through_openfeature(VexilProvider(sdk, ready_timeout_s=WITHIN_S), "own") as ours,
    ):
        for context in generated_flags.contexts(Random(7), CONTEXT_COUNT):
            attributes = {name: value for name, value in context.items() if name != "targetingKey"}
            of = EvaluationContext(context.get("targetingKey"), attributes)
            for name, document in generated.flags.items():
                kind = document["type"]
                answers = [
                    getattr(client, f"get_{kind}_details")(name, DEFAULTS[kind], of)
                    for client in (theirs, ours)
                ]
                first, second = [
                    (found.value, type(found.value), found.variant or "", found.reason, found.error_code)
                    for found in answers
                ]
                assert first == second, (name, document, context)
                assert first[-1] is None
                asked += 1
        assert asked == FLAG_COUNT * CONTEXT_COUNT
        for client in (theirs, ours):
            missing = client.get_boolean_details("no-such-flag", True)
            assert (missing.value, missing.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
