"""Stock flagd clients, unmodified, on a running node: gRPC in both modes, and flagd's file on what a node exports."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.provider import ProviderStatus
from openfeature.schemas.protobuf.flagd.evaluation.v1 import evaluation_pb2 as v1
from openfeature.schemas.protobuf.flagd.evaluation.v1 import evaluation_pb2_grpc as v1_grpc
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2_grpc as v2_grpc
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2, sync_pb2_grpc

from tests.e2e import generated_flags
from tests.e2e.cluster import FLAGS, PROJECT, Cluster
from tests.e2e.terminal import Terminal
from tests.e2e.waiting import eventually
from vexil.sdk import ABSENT, Evaluation, FlagSet, evaluate

pytestmark = pytest.mark.xdist_group("e2e-flagd-grpc")

NODE = "eu-1"
DEADLINE_S = 30
FLAG_COUNT = 80
CONTEXT_COUNT = 50
SERVICE = "/flagd.evaluation.v2.Service"
MODES = [ResolverType.RPC, ResolverType.IN_PROCESS]


class OneNode(Cluster):
    """``vexil dev`` with a single node: what a client meets is one node anyhow."""

    def dev(self) -> Terminal:
        assert self._base_port is not None
        options = ("--regions", "eu", "--nodes", "1", "--base-port", str(self._base_port))
        terminal = Terminal("dev", "--data", str(self.data), *options, folder=self.data.parent)
        self.terminals.append(terminal)
        return terminal

    @property
    def flagd_port(self) -> int:
        """Where its flagd listener is."""
        port: int = self.file["nodes"][0]["flagd_port"]
        return port

    def grpc_address(self) -> str:
        """Its main port."""
        return self.url(NODE).removeprefix("http://")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNode]:
    cluster = OneNode(tmp_path_factory.mktemp("cluster") / "data")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def generated(node: OneNode) -> FlagSet:
    """Flags that the node has, as our own SDK has them."""
    flag_set = generated_flags.flag_set(Random(20), FLAG_COUNT)
    for key, segment in generated_flags.SEGMENTS.items():
        members = {"members": sorted(segment["members"]), "rules": segment["rules"]}
        node.done(NODE, "PUT", f"/api/v1/projects/{PROJECT}/segments/{key}", members)
    for key, document in flag_set.flags.items():
        node.done(NODE, "POST", FLAGS, generated_flags.body(key, document))
    return flag_set


class Client:
    """A stock client through the OpenFeature API, and the events that it has told."""

    def __init__(self, name: str, provider: FlagdProvider) -> None:
        self.events: Counter[ProviderEvent] = Counter()
        self.changed: set[str] = set()
        self.of: OpenFeatureClient = api.get_client(name)
        for event in ProviderEvent:
            self.of.add_handler(event, self._heard(event))
        api.set_provider(provider, name)

    def _heard(self, event: ProviderEvent) -> Callable[[EventDetails], None]:
        def handle(details: EventDetails) -> None:
            self.events[event] += 1
            self.changed.update(details.flags_changed or ())

        return handle

    def ask(self, key: str, kind: str, default: Any, context: dict[str, Any]) -> Any:
        attributes = {name: value for name, value in context.items() if name != "targetingKey"}
        asked = EvaluationContext(context.get("targetingKey"), attributes)
        return getattr(self.of, f"get_{kind}_details")(key, default, asked)


@contextmanager
def connected(node: OneNode, mode: ResolverType, **options: Any) -> Iterator[Client]:
    """A stock client that has connected, or the failure to."""
    provider = FlagdProvider(
        host="127.0.0.1",
        port=node.flagd_port,
        resolver_type=mode,
        deadline_ms=DEADLINE_S * 1000,
        retry_backoff_ms=100,
        retry_backoff_max_ms=200,
        **options,
    )
    name = f"{mode.value}-{id(provider)}"
    client = Client(name, provider)
    try:
        eventually(lambda: client.of.get_provider_status() is ProviderStatus.READY)
        yield client
    finally:
        provider.shutdown()


DEFAULTS: dict[str, Any] = {
    "boolean": True,
    "string": "mine",
    "integer": 77,
    "float": 7.5,
    "object": {"mine": 1},
}


def check_agreement(client: Client, flag_set: FlagSet) -> Counter[str]:
    """Compare every flag for every context; how often each reason of ours was among them."""
    seen: Counter[str] = Counter()
    for context in generated_flags.contexts(Random(30), CONTEXT_COUNT):
        for key, document in flag_set.flags.items():
            ours = evaluate(flag_set, key, context, now_s=0)
            theirs = client.ask(key, document["type"], DEFAULTS[document["type"]], context)
            expected = _expected(ours, document["type"])
            told = (theirs.value, theirs.variant or "", theirs.error_code is not None)
            assert told == expected, (key, document, context, ours, theirs)
            assert type(theirs.value) is type(expected[0])
            seen[ours.reason] += 1
    return seen


def _expected(ours: Evaluation, kind: str) -> tuple[Any, str, bool]:
    if ours.value is ABSENT:
        return DEFAULTS[kind], "", ours.error_code is not None
    return ours.value, ours.variant, False


@pytest.mark.parametrize("mode", MODES)
def test_a_stock_client_agrees_with_ours_on_everything(
    node: OneNode, generated: FlagSet, mode: ResolverType
) -> None:
    with connected(node, mode) as client:
        seen = check_agreement(client, generated)
        assert seen.total() == FLAG_COUNT * CONTEXT_COUNT
        assert {"STATIC", "DEFAULT", "TARGETING_MATCH", "DISABLED"} <= set(seen), (
            "flags that tell things apart"
        )
        assert client.events[ProviderEvent.PROVIDER_ERROR] == 0


def test_flagds_file_mode_agrees_on_what_a_node_exports(
    node: OneNode, generated: FlagSet, tmp_path: Path
) -> None:
    path = tmp_path / "flags.json"
    path.write_bytes(node.ask(NODE, "GET", "/flagd/v1/flags.json", key="server").content)
    with connected(node, ResolverType.FILE, offline_flag_source_path=str(path)) as client:
        check_agreement(client, generated)


@pytest.mark.parametrize("mode", MODES)
def test_a_later_change_arrives_and_is_announced(node: OneNode, mode: ResolverType) -> None:
    key = f"later-{mode.value}"
    node.create(NODE, key)
    with connected(node, mode) as client:
        assert client.ask(key, "boolean", False, {}).value is True
        node.patch(NODE, key, {"environments": {"prod": {"default": "off"}}})
        eventually(lambda: client.ask(key, "boolean", True, {}).value is False)
        eventually(lambda: key in client.changed)
        node.done(NODE, "DELETE", f"{FLAGS}/{key}")
        eventually(lambda: client.ask(key, "boolean", True, {}).error_code == "FLAG_NOT_FOUND")


@pytest.mark.parametrize("mode", MODES)
def test_a_client_comes_back_to_a_node_that_was_restarted(node: OneNode, mode: ResolverType) -> None:
    key = f"back-{mode.value}"
    node.create(NODE, key)
    with connected(node, mode) as client:
        eventually(lambda: client.ask(key, "boolean", False, {}).value is True)
        node.kill(NODE)
        eventually(lambda: client.events[ProviderEvent.PROVIDER_STALE])
        if mode is ResolverType.IN_PROCESS:
            assert client.ask(key, "boolean", False, {}).value is True, "it has the document"
        node.start(NODE)
        node.patch(NODE, key, {"environments": {"prod": {"default": "off"}}})
        eventually(lambda: client.ask(key, "boolean", True, {}).value is False)
        eventually(lambda: client.events[ProviderEvent.PROVIDER_READY] > 1)


def test_a_node_that_is_stopped_ends_its_streams_in_order(node: OneNode) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{node.flagd_port}") as channel:
        events = v2_grpc.ServiceStub(channel).EventStream(v2.EventStreamRequest(), timeout=DEADLINE_S)
        documents = sync_pb2_grpc.FlagSyncServiceStub(channel).SyncFlags(
            sync_pb2.SyncFlagsRequest(), timeout=DEADLINE_S
        )
        next(events), next(documents)
        os.kill(node.pid(NODE), signal.SIGTERM)
        for stream in (events, documents):
            with pytest.raises(grpc.RpcError) as failed:
                list(stream)
            assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "shutdown" in str(failed.value.details())
    eventually(lambda: node.runs(NODE) is None)
    node.start(NODE)


def test_a_selector_must_ask_for_what_is_there(node: OneNode) -> None:
    part = {"evaluators": {}, "metadata": {"flagSetId": "demo-prod", "team": "web"}}
    path = f"/api/v1/projects/{PROJECT}/environments/prod/flagd"
    node.done(NODE, "PUT", path, part)
    try:
        with connected(node, ResolverType.IN_PROCESS, selector="flagSetId=demo-prod") as client:
            node.create(NODE, "selected")
            eventually(lambda: client.ask("selected", "boolean", False, {}).value is True)
            assert client.ask("selected", "boolean", False, {}).flag_metadata["team"] == "web"
        with grpc.insecure_channel(f"127.0.0.1:{node.flagd_port}") as channel:
            stub = sync_pb2_grpc.FlagSyncServiceStub(channel)
            with pytest.raises(grpc.RpcError) as failed:
                stub.FetchAllFlags(
                    sync_pb2.FetchAllFlagsRequest(), metadata=(("flagd-selector", "flagSetId=other"),)
                )
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    finally:
        node.done(NODE, "PUT", path, {"evaluators": {}, "metadata": {}})


def test_the_main_port_answers_to_a_server_key_only(node: OneNode) -> None:
    node.create(NODE, "on-main")
    request = v2.ResolveBooleanRequest(flag_key="on-main")
    keys = node.file["keys"]
    with grpc.insecure_channel(node.grpc_address()) as channel:
        stub = v2_grpc.ServiceStub(channel)

        def ask(key: str | None) -> Any:
            metadata = () if key is None else (("authorization", f"Bearer {key}"),)
            return stub.ResolveBoolean(request, metadata=metadata, timeout=DEADLINE_S)

        assert ask(keys["server"]).value is True
        for key, code in (
            (None, grpc.StatusCode.UNAUTHENTICATED),
            ("vxs_no_key", grpc.StatusCode.UNAUTHENTICATED),
            (keys["client"], grpc.StatusCode.PERMISSION_DENIED),
            (keys["admin"], grpc.StatusCode.PERMISSION_DENIED),
        ):
            with pytest.raises(grpc.RpcError) as failed:
                ask(key)
            assert failed.value.code() is code
        found = v1_grpc.ServiceStub(channel).ResolveAll(
            v1.ResolveAllRequest(),
            metadata=(("authorization", f"Bearer {keys['server']}"),),
            timeout=DEADLINE_S,
        )
        assert found.flags["on-main"].bool_value is True


def test_one_connection_carries_hundreds_of_streams_and_calls_and_survives_refusals(node: OneNode) -> None:
    node.create(NODE, "busy")
    with grpc.insecure_channel(f"127.0.0.1:{node.flagd_port}") as channel:
        stub, events = v2_grpc.ServiceStub(channel), []
        for _ in range(300):
            stream = stub.EventStream(v2.EventStreamRequest(), timeout=DEADLINE_S * 4)
            events.append(stream)
        for stream in events:
            assert next(stream).type == "provider_ready"

        def ask(number: int) -> object:
            return stub.ResolveBoolean(v2.ResolveBooleanRequest(flag_key="busy"), timeout=DEADLINE_S).value

        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(ask, range(500))) == {True}

        refusals: tuple[tuple[Any, Any, dict[str, Any], grpc.StatusCode], ...] = (
            (stub.ResolveBoolean, _long(3_000_000), {}, grpc.StatusCode.RESOURCE_EXHAUSTED),
            (
                stub.ResolveBoolean,
                _long(10_000),
                {"compression": grpc.Compression.Gzip},
                grpc.StatusCode.UNIMPLEMENTED,
            ),
            (channel.unary_unary(f"{SERVICE}/NoSuchMethod"), b"", {}, grpc.StatusCode.UNIMPLEMENTED),
            (
                channel.unary_unary(f"{SERVICE}/ResolveInt"),
                b"\xff\xff",
                {},
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
        )
        for method, request, options, code in refusals:
            assert _code(method, request, **options) is code
        node.patch(NODE, "busy", {"environments": {"prod": {"default": "off"}}})
        for stream in events:
            assert any(
                "busy" in MessageToDict(event.data)["flags"]
                for event in stream
                if event.type == "configuration_change"
            )
            stream.cancel()
        assert ask(0) is False
    eventually(lambda: 'vexil_streams_open{kind="flagd"} 0.0' in node.ask(NODE, "GET", "/metrics").text)


def _long(characters: int) -> v2.ResolveBooleanRequest:
    return v2.ResolveBooleanRequest(flag_key="x" * characters)


def _code(method: Any, request: Any, **options: Any) -> grpc.StatusCode:
    try:
        method(request, timeout=DEADLINE_S, **options)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_a_large_document_comes_whole(node: OneNode) -> None:
    text = "x" * 1000
    operations = [
        {
            "op": "create",
            "flag": f"large-{number}",
            "value": {
                "type": "string",
                "variants": {"v": text + str(number)},
                "environments": {"prod": {"enabled": True, "default": "v"}},
            },
        }
        for number in range(1500)
    ]
    for start in range(0, len(operations), 100):
        change = {"message": "many", "operations": operations[start : start + 100]}
        node.done(NODE, "POST", f"/api/v1/projects/{PROJECT}/changes", change)
    with grpc.insecure_channel(f"127.0.0.1:{node.flagd_port}") as channel:
        found = sync_pb2_grpc.FlagSyncServiceStub(channel).FetchAllFlags(
            sync_pb2.FetchAllFlagsRequest(), timeout=DEADLINE_S
        )
        assert len(found.flag_configuration) > 1_500_000
        assert json.loads(found.flag_configuration) == node.done(
            NODE, "GET", "/flagd/v1/flags.json", key="server"
        )
    with connected(node, ResolverType.IN_PROCESS) as client:
        assert client.ask("large-1499", "string", "", {}).value == text + "1499"
