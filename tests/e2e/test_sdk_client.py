"""The client in a real process: its thread, its sockets, its file, forks, event loops, and the end.

Every wait has a bound, and ends with the condition that it waits for.
"""

from __future__ import annotations

import asyncio
import gc
import json
import stat
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.e2e.sdk_server import KEY, Deaf, SdkServer
from tests.e2e.waiting import eventually
from tests.unit.sdk.documents import flag
from vexil.sdk import Client
from vexil.sdk.client import Options, Status
from vexil.sdk.errors import ClientMisconfigured

ON, OFF = flag(), flag(default="off")
WAIT_S = 20.0
OPTIONS = Options(proxy_from_environment=False, back_off_base_s=0.05, back_off_max_s=0.2)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def node() -> Iterator[SdkServer]:
    server = SdkServer(a=ON)
    yield server
    server.stop()


def made(*urls: str, **more: Any) -> Client:
    return Client(urls, KEY, options=OPTIONS, **more)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("vexil-sdk")]


def test_a_service_sees_flags_and_their_changes(node: SdkServer) -> None:
    keys: list[frozenset[str]] = []
    with made(node.url) as client:
        assert client.wait_ready(WAIT_S)
        assert client.boolean("a", False) is True
        assert client.status.healthy
        client.on_change(keys.append)
        node.change("a", OFF)
        eventually(lambda: client.boolean("a", True) is False)
        eventually(lambda: keys == [{"a"}])
        assert client.flag_set.version == "v2"
    eventually(lambda: not threads())


def test_after_close_answers_go_on_and_the_status_says_so(node: SdkServer) -> None:
    client = made(node.url)
    assert client.wait_ready(WAIT_S)
    client.close()
    client.close()
    assert client.boolean("a", False) is True
    assert (client.status.connection, client.status.healthy) == ("closed", False)
    assert client.wait_ready(WAIT_S)
    assert not client.catch_up("2", WAIT_S)
    eventually(lambda: node.streams == 0)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 0.2, float("nan")])
def test_waiting_for_a_node_that_never_answers_ends(timeout_s: float) -> None:
    deaf = Deaf()
    try:
        with made(deaf.url) as client:
            began = time.monotonic()
            assert client.wait_ready(timeout_s) is False
            assert client.catch_up("1", timeout_s) is False
            assert time.monotonic() - began < 10
            assert client.boolean("a", True) is True
    finally:
        deaf.close()


def test_waiting_offline_without_a_file_ends_at_once(tmp_path: Path) -> None:
    with made("http://127.0.0.1:9", offline=True, cache_file=tmp_path / "none") as client:
        assert client.wait_ready(float("inf")) is False
        assert client.boolean_details("a", True).error_code == "PROVIDER_NOT_READY"


def test_a_service_starts_from_its_disk_when_every_node_is_dead(node: SdkServer, tmp_path: Path) -> None:
    cache = tmp_path / "flags.snapshot"
    with made(node.url, cache_file=cache) as client:
        assert client.wait_ready(WAIT_S)
        node.stop()
        eventually(lambda: not client.status.healthy)
        assert client.boolean("a", False) is True
        assert client.status.stale_since is not None
    assert stat.S_IMODE(cache.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [cache.name]
    with made(node.url, cache_file=cache) as client:
        assert client.wait_ready(WAIT_S)
        assert (client.status.source, client.boolean("a", False)) == ("disk", True)
        assert client.status.stale_since is not None
        node.flags = {"a": OFF}
        node.seq = 2
        node.start()
        eventually(lambda: client.status.healthy)
        assert client.boolean("a", True) is False


def test_a_damaged_file_is_said_and_passed_over(node: SdkServer, tmp_path: Path) -> None:
    cache = tmp_path / "flags.snapshot"
    cache.write_bytes(b"vexil-flag-set 1 0000\n{}\n{")
    with made(node.url, cache_file=cache) as client:
        assert client.wait_ready(WAIT_S)
        assert client.status.healthy
    with made("http://127.0.0.1:9", cache_file=tmp_path) as client:
        assert not client.wait_ready(0.5)
        assert "snapshot" in str(client.status.snapshot_error)


def test_a_bootstrap_file_is_what_a_node_answers(node: SdkServer, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps(node.document))
    with Client("", "", offline=True, bootstrap_file=file) as client:
        assert client.wait_ready(WAIT_S)
        assert (client.status.source, client.boolean("a", False)) == ("bootstrap", True)
        assert client.status.stale_since is not None


def test_the_next_node_takes_over(node: SdkServer) -> None:
    other = SdkServer(a=OFF)
    other.seq = 2
    try:
        with made(node.url, other.url) as client:
            assert client.wait_ready(WAIT_S)
            assert client.status.url == node.url
            node.stop()
            eventually(lambda: client.status.url == other.url)
            eventually(lambda: client.boolean("a", True) is False)
    finally:
        other.stop()


def test_a_refused_key_is_said() -> None:
    server = SdkServer(a=ON)
    try:
        with Client(server.url, "vxs_wrong", options=OPTIONS) as client:
            assert not client.wait_ready(0.3)
            assert "the key is refused (401)" in str(client.status.error)
            assert "vxs_wrong" not in repr(client.status)
            assert "vxs_wrong" not in repr(vars(client))
    finally:
        server.stop()


def test_a_view_is_of_one_moment_and_of_a_write(node: SdkServer) -> None:
    with made(node.url) as client:
        assert client.wait_ready(WAIT_S)
        token = node.change("a", OFF)
        view = client.view(token=token, timeout_s=WAIT_S)
        assert view.caught_up
        assert view.boolean("a", True) is False
        node.change("a", ON)
        eventually(lambda: client.boolean("a", False) is True)
        assert view.boolean("a", True) is False


def test_many_threads_ask_while_the_set_changes(node: SdkServer) -> None:
    wrong: list[object] = []
    stop = threading.Event()
    with made(node.url) as client:
        assert client.wait_ready(WAIT_S)

        def ask(number: int) -> None:
            while not stop.is_set():
                details = client.boolean_details("a", False, {"targetingKey": f"u{number}"})
                if details.reason != "STATIC" or details.value is not (details.variant == "on"):
                    wrong.append(details)
                if client.integer("unknown", number) != number or not client.status.ready:
                    wrong.append(number)

        askers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in askers:
            thread.start()
        tokens = [node.change("a", OFF if number % 2 else ON) for number in range(100)]
        reached = client.catch_up(tokens[-1], WAIT_S)
        stop.set()
        for thread in askers:
            thread.join(WAIT_S)
        assert reached
        assert not wrong


def test_callbacks_may_fail_hang_or_close_the_client(node: SdkServer) -> None:
    heard: list[Status] = []
    with made(node.url) as client:

        def fail(keys: frozenset[str]) -> None:
            raise RuntimeError("the application's own")

        def close(keys: frozenset[str]) -> None:
            client.close()

        assert client.wait_ready(WAIT_S)
        client.on_change(fail)
        client.on_change(close)
        client.on_status(heard.append)
        node.change("a", OFF)
        eventually(lambda: client.status.connection == "closed")
        eventually(lambda: [status.connection for status in heard] == ["closed"])


def test_a_callback_that_hangs_holds_up_nothing(node: SdkServer) -> None:
    release = threading.Event()
    try:
        with made(node.url) as client:
            assert client.wait_ready(WAIT_S)
            client.on_change(lambda keys: release.wait(WAIT_S))
            for number in range(5):
                node.change("a", OFF if number % 2 else ON)
            assert client.catch_up(node.change("b", ON), WAIT_S)
            assert client.boolean("b", False) is True
    finally:
        release.set()


def test_a_client_that_is_forgotten_goes_away_with_its_thread(node: SdkServer) -> None:
    client = made(node.url)
    assert client.wait_ready(WAIT_S)
    gone = weakref.ref(client)
    del client
    eventually(lambda: gc.collect() >= 0 and gone() is None)
    eventually(lambda: not threads())
    eventually(lambda: node.streams == 0)


def test_within_asyncio(node: SdkServer) -> None:
    async def service() -> bool:
        with made(node.url) as client:
            assert await asyncio.to_thread(client.wait_ready, WAIT_S)
            node.change("a", OFF)
            async with asyncio.timeout(WAIT_S):
                while client.boolean("a", True):  # noqa: ASYNC110 - as a service would ask
                    await asyncio.sleep(0.01)
            return client.status.healthy

    assert asyncio.run(service())


async def test_within_trio(node: SdkServer) -> None:
    with made(node.url) as client:
        assert await trio.to_thread.run_sync(client.wait_ready, WAIT_S)
        node.change("a", OFF)
        with trio.fail_after(WAIT_S):
            while client.boolean("a", True):  # noqa: ASYNC110 - as a service would ask
                await trio.sleep(0.01)
        assert client.status.healthy


def run(name: str, node: SdkServer, file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.e2e.sdk_service", name, node.url, str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_a_forked_process_goes_its_own_way(node: SdkServer, tmp_path: Path) -> None:
    found: list[subprocess.CompletedProcess[str]] = []
    service = threading.Thread(target=lambda: found.append(run("fork", node, tmp_path / "cache")))
    service.start()
    # The parent, two children and a grandchild: a stream each, none of them shared.
    eventually(lambda: node.streams == 4)
    node.change("b", ON)
    eventually(lambda: node.streams == 1)
    node.change("c", ON)
    service.join(WAIT_S)
    done = found[0]
    assert (done.returncode, done.stderr) == (0, "")
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step["value"] for step in steps if step["step"] == "first"] == [True] * 3
    assert [step["ready"] and step["healthy"] for step in steps if step["step"] == "ready"] == [True] * 3
    assert [step["value"] for step in steps if step["step"] == "changed"] == [True] * 3
    assert [step["told"] for step in steps if step["step"] == "told"] == [True] * 2
    assert steps[-1]["codes"] == [0, 0]
    assert steps[-1]["value"] is True
    assert steps[-1]["healthy"] is True
    assert len(node.opened) == 4, "the parent's stream was never disturbed"


def test_a_process_that_closes_nothing_ends_cleanly(node: SdkServer, tmp_path: Path) -> None:
    done = run("leave", node, tmp_path / "cache")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["value"] is True
    assert (tmp_path / "cache").exists(), "what it knew is there for the next start"
    assert run("fail", node, tmp_path / "cache").returncode == 3


def test_what_cannot_work_is_refused_when_the_client_is_made(tmp_path: Path) -> None:
    wrong: list[Any] = [
        (),
        [],
        ["ftp://x"],
        ["http://"],
        ["x"],
        [7],
        None,
        7,
        "http://h:99999",
        "http://h/?q",
        "http://u:p@h",
    ]
    for urls in wrong:
        with pytest.raises(ClientMisconfigured):
            Client(urls, KEY)
    keys: list[Any] = ["", "a b", "a\nb", "ä", None, 7]
    for key in keys:
        with pytest.raises(ClientMisconfigured):
            Client("http://127.0.0.1:9", key)
    for poll_s in (0, -1, float("nan"), float("inf"), "5", True):
        with pytest.raises(ClientMisconfigured):
            Client("http://127.0.0.1:9", KEY, poll_s=poll_s)  # type: ignore[arg-type]  # what is refused
    others: list[dict[str, Any]] = [
        {"context": 5},
        {"context": ["a"]},
        {"cache_file": 5},
        {"bootstrap_file": b"f"},
    ]
    for other in others:
        with pytest.raises(ClientMisconfigured):
            Client("http://127.0.0.1:9", KEY, **other)
    with pytest.raises(ClientMisconfigured):
        Options(silence_s=0)
    assert not threads()
