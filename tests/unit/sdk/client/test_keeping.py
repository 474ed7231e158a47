"""Starting without any node, and what is left on the disk for it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import trio

from tests.unit.sdk.client.nodes import KEY, MemoryDisk, Node, on, service, token
from tests.unit.sdk.documents import segment
from vexil.sdk import FlagSet
from vexil.sdk.client.messages import Nonsense
from vexil.sdk.client.snapshot import decode, encode, fingerprint
from vexil.sdk.client.state import Held

CONFIRMED_AT_S = 1_790_000_000.25


def held(**flags: Any) -> Held:
    flag_set = FlagSet(
        flags=flags or {"a": on(False), "ä": on()},
        segments={"beta": segment("u2", "u1", rules=({"var": "x"},))},
        evaluators={"e": {"var": "y"}},
        metadata={"owner": "\ud800 me"},
        version="v1",
    )
    return Held(flag_set=flag_set, source="node", token=token(1), confirmed_at_s=CONFIRMED_AT_S)


async def snapshot(**flags: Any) -> bytes:
    return await encode(held(**flags), key=KEY)


async def test_a_snapshot_gives_back_what_was_held() -> None:
    read = decode(await snapshot(), key=KEY)
    before = held()
    for part in ("flags", "segments", "evaluators", "metadata", "bucketing", "version"):
        assert getattr(read.flag_set, part) == getattr(before.flag_set, part), part
    assert (read.source, read.token, read.confirmed_at_s) == ("disk", token(1), CONFIRMED_AT_S)
    assert KEY.encode() not in await snapshot()


async def test_a_snapshot_with_one_byte_less_or_another_one_is_none() -> None:
    data = await snapshot()
    step = max(1, len(data) // 200)
    for at in range(0, len(data), step):
        with pytest.raises(Nonsense):
            decode(data[:at], key=KEY)
        with pytest.raises(Nonsense):
            decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], key=KEY)
    with pytest.raises(Nonsense):
        decode(data + b"x", key=KEY)


async def test_nobody_answers_and_the_snapshot_is_what_there_is(autojump_clock: Any) -> None:
    cache, dead = MemoryDisk(await snapshot()), Node(refuses=True)
    async with service(dead, cache=cache) as it:
        await it.until(lambda: it.status.ready, within_s=1)
        assert it.value("a") is False
        assert (it.status.source, it.status.stale_since) == ("disk", CONFIRMED_AT_S)
        await it.until(lambda: it.published[-1].settled, within_s=1)
        assert it.status.error is not None
        dead.refuses, dead.seq = False, 2
        await it.until(lambda: it.status.healthy, within_s=65)
        assert it.value("a") is True
        assert dead.opened[-1][1]["Last-Event-ID"] == token(1), "the snapshot's token goes along"


async def test_a_node_behind_the_snapshot_is_not_accepted(autojump_clock: Any) -> None:
    newer = Held(flag_set=FlagSet(flags={"a": on(False)}, version="v9"), source="node", token=token(9))
    async with service(Node(seq=4), cache=MemoryDisk(await encode(newer, key=KEY))) as it:
        await trio.sleep(60)
        assert it.value("a") is False
        assert it.status.stale_since is not None


async def test_a_confirmed_snapshot_is_not_stale_any_more(autojump_clock: Any) -> None:
    async with service(Node(flags={"a": on(False)}), cache=MemoryDisk(await snapshot())) as it:
        await it.until(lambda: it.status.healthy, within_s=1)
        assert it.status.source == "node"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no snapshot"),
        (b"\0" * 5000, "no snapshot"),
        (b'{"version": "v1", "flags": {}}', "no snapshot"),
        (b"vexil-flag-set 1 00\n{}\n{}", "checksum"),
        (b"vexil-flag-set 2 00\n{}\n{}", "format"),
    ],
)
async def test_a_file_that_is_no_snapshot_is_said_and_not_used(
    autojump_clock: Any, data: bytes, reason: str
) -> None:
    async with service(Node(refuses=True), cache=MemoryDisk(data)) as it:
        await trio.sleep(1)
        assert not it.status.ready
        assert "the snapshot is not used" in str(it.status.snapshot_error)
        assert reason in str(it.status.snapshot_error)


def whole_file(**known: Any) -> bytes:
    """A snapshot whose checksum fits, whatever its second line says."""
    rest = json.dumps({"key": fingerprint(KEY), **known}).encode() + b'\n{"version": "v1", "flags": {}}\n'
    return b"vexil-flag-set 1 %s\n%s" % (hashlib.sha256(rest).hexdigest().encode(), rest)


@pytest.mark.parametrize("at_s", [10**400, -1, float("inf"), float("nan"), "now", None], ids=range(6))
@pytest.mark.parametrize("text", ["\u00fc", "a\nb", "a" * 100_000, "", 5], ids=range(5))
def test_what_a_snapshot_says_of_its_set_is_taken_only_if_it_can_be_so(at_s: object, text: object) -> None:
    read = decode(whole_file(confirmed_at_s=at_s, token=text), key=KEY)
    assert (read.token, read.confirmed_at_s) == (None, None)


async def test_a_disk_that_fails_in_no_known_way_does_not_keep_the_client_from_its_nodes(
    autojump_clock: Any,
) -> None:
    cache: Any = MemoryDisk(error=ArithmeticError("neither a disk's error nor a file's"))  # type: ignore[arg-type]  # on purpose
    async with service(Node(), cache=cache) as it:
        await it.until(lambda: it.status.source == "node", within_s=2)


async def test_the_snapshot_of_another_key_is_not_used(autojump_clock: Any) -> None:
    other = await encode(held(), key="vxs_other")
    async with service(Node(refuses=True), cache=MemoryDisk(other)) as it:
        await trio.sleep(1)
        assert not it.status.ready
        assert "another access key" in str(it.status.snapshot_error)


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_disk_that_fails_or_hangs_stops_nobody(autojump_clock: Any, hangs: bool) -> None:
    disk = MemoryDisk(hangs=hangs, error=None if hangs else OSError("input/output error"))
    async with service(Node(), cache=disk) as it:
        await it.until(lambda: it.status.healthy, within_s=15)
        assert it.status.snapshot_error
        await trio.sleep(200)
        assert it.status.healthy
        assert "cannot be written" in it.status.snapshot_error
        disk.error, disk.hangs = None, False
        await it.until(lambda: it.status.snapshot_error is None, within_s=200)


async def test_the_bootstrap_file_is_the_last_resort(autojump_clock: Any) -> None:
    document = json.dumps({"version": "x", "flags": {"a": on(False)}}).encode()
    async with service(Node(refuses=True), cache=MemoryDisk(), bootstrap=MemoryDisk(document)) as it:
        await it.until(lambda: it.status.ready, within_s=1)
        assert (it.status.source, it.value("a"), it.status.token) == ("bootstrap", False, None)
        assert it.status.stale_since == it.clock.began_s
        assert it.status.snapshot_error is None
    async with service(
        Node(refuses=True), cache=MemoryDisk(await snapshot(a=on())), bootstrap=MemoryDisk(document)
    ) as it:
        await it.until(lambda: it.status.ready, within_s=1)
        assert it.status.source == "disk"
    async with service(Node(refuses=True), cache=MemoryDisk(b"junk"), bootstrap=MemoryDisk(document)) as it:
        await it.until(lambda: it.status.ready, within_s=1)
        assert it.status.source == "bootstrap"
        assert "the snapshot is not used" in str(it.status.snapshot_error)
    async with service(Node(), bootstrap=MemoryDisk(document)) as it:
        await it.until(lambda: it.status.healthy, within_s=1)
        assert it.value("a") is True


async def test_a_missing_bootstrap_file_is_said(autojump_clock: Any) -> None:
    async with service(Node(refuses=True), bootstrap=MemoryDisk()) as it:
        await trio.sleep(1)
        assert it.status.snapshot_error == "the bootstrap file is not used: there is no such file"


async def test_offline_nobody_is_asked(autojump_clock: Any) -> None:
    node = Node()
    async with service(node, cache=MemoryDisk(await snapshot()), offline=True) as it:
        await trio.sleep(1000)
        assert not node.tries
        assert (it.status.connection, it.status.ready, it.value("a")) == ("offline", True, False)
        assert it.status.stale_since == CONFIRMED_AT_S
        assert not await it.catch_up(token(9), 5.0)


async def test_a_new_set_is_written_soon_and_many_changes_seldom(autojump_clock: Any) -> None:
    cache, node = MemoryDisk(), Node()
    async with service(node, cache=cache) as it:
        await it.until(lambda: bool(cache.writes), within_s=2)
        for number in range(1200):
            node.change("a", on(bool(number % 2)))
            await trio.sleep(0.5)
        assert 6 <= len(cache.writes) <= 14
        gaps = [b - a for a, b in zip(cache.writes, cache.writes[1:], strict=False)]
        assert min(gaps) > 40
        await trio.sleep(90)
        assert cache.data is not None
        assert decode(cache.data, key=KEY).flag_set.version == node.version


async def test_an_unchanged_set_is_written_again_so_that_its_age_is_true(autojump_clock: Any) -> None:
    cache = MemoryDisk()
    async with service(Node(), cache=cache) as it:
        await trio.sleep(10_000)
        assert 8 <= len(cache.writes) <= 13
        assert cache.data is not None
        age_s = it.clock.now_s() - (decode(cache.data, key=KEY).confirmed_at_s or 0)
        assert age_s < 1100


async def test_the_last_set_is_written_at_the_end(autojump_clock: Any) -> None:
    cache, node = MemoryDisk(), Node()
    async with service(node, cache=cache) as it:
        await it.until(lambda: bool(cache.writes), within_s=2)
        node.change("a", on(False))
        await it.until(lambda: it.value("a") is False)
    assert cache.data is not None
    assert decode(cache.data, key=KEY).flag_set.version == "v2"


async def test_a_hanging_disk_does_not_hold_up_the_end(autojump_clock: Any) -> None:
    cache = MemoryDisk()
    async with service(Node(), cache=cache) as it:
        await it.until(lambda: it.status.healthy, within_s=2)
        cache.hangs = True
        began = trio.current_time()
    assert trio.current_time() - began < 4


async def test_what_came_from_a_bootstrap_file_is_never_kept(autojump_clock: Any) -> None:
    cache = MemoryDisk()
    document = json.dumps({"version": "x", "flags": {}}).encode()
    async with service(Node(refuses=True), cache=cache, bootstrap=MemoryDisk(document)):
        await trio.sleep(500)
    assert not cache.writes
