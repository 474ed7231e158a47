"""`vexil doctor --data` looks into a node's folder: whatever is damaged there is found, and nothing is changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.unit.node.cli.fake_node import FakeCluster, answer
from tests.unit.node.cli.test_status import STATUS, status_of
from vexil.crdt import cell as cells
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT, retired_field
from vexil.node.adapters import folder_check
from vexil.node.adapters.folder_lock import FolderLock
from vexil.node.adapters.sqlite import SqliteStore
from vexil.node.seams import AsideRecord, LogRecord, MemberRow
from vexil.node.staging import entries_of

FLAGS = 30
SLOT = "eu-1"
CHECKPOINT = 65_536


async def fill(folder: Path) -> None:
    """What a node leaves: a log of three authors, one of them retired, its fold, and its member row."""
    replica = Replica()
    records: list[LogRecord] = []
    pens = {author: Pen(replica, author) for author in (7, 8, 9)}

    def write(author: int, name: str, field: str, value: object) -> None:
        pens[author].rewind()
        change = pens[author].write(
            [CellWrite(name, NO_GENERATION, field, value)], hlc=len(records) + 1, author="a"
        )
        replica.apply(change)
        records.append(LogRecord("shop", author, change.seq, change.raw))

    for number in range(FLAGS):
        write(7 if number % 3 else 8, f"x/{number}", "f", f"value {number}")
    write(9, "x/0", "f", "of one that ends")
    write(8, "x/1", "f", TOMBSTONE)
    write(7, RETIRED_OBJECT, retired_field(9), 1)
    assert replica.retired == {9: 1}
    async with SqliteStore.open(folder / "node.db") as store:
        await store.append(records)
        for name, generations in replica.objects.items():
            for generation, fields in generations.items():
                for field, packed in fields.items():
                    entries = entries_of(name, generation, field, packed)
                    await store.write_fold("shop", entries, checkpoint=CHECKPOINT)
        await store.write_member(
            MemberRow(
                SLOT,
                1,
                1,
                7,
                checkpoint={"shop": CHECKPOINT},
                vv={"shop": replica.vv},
                fold={"shop": replica.header()},
            )
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound folder."""
    made = tmp_path / "data" / SLOT
    made.mkdir(parents=True)
    trio.run(fill, made)
    return made


def doctor(cluster: FakeCluster, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    result = cluster.run("doctor", "--json", *arguments)
    document = json.loads(result.stdout)
    assert document["healthy"] is (result.exit_code == 0)
    assert all(finding["do"] for finding in document["findings"])
    return result.exit_code, document["findings"]


def codes(findings: Sequence[dict[str, Any]]) -> list[str]:
    return [finding["code"] for finding in findings]


def alter(folder: Path, sql: str, *values: object) -> None:
    """Change the file behind the node's back."""
    with closing(sqlite3.connect(folder / "node.db")) as connection:
        assert connection.execute(sql, values).rowcount == 1
        connection.commit()


def flip(folder: Path, position: int) -> None:
    """Alter one byte of one row of the log."""
    with closing(sqlite3.connect(folder / "node.db")) as connection:
        ((raw,),) = connection.execute("SELECT raw FROM log WHERE position = ?", (position,)).fetchall()
    altered = bytearray(raw)
    altered[-8] ^= 1
    alter(folder, "UPDATE log SET raw = ? WHERE position = ?", bytes(altered), position)


def prints(folder: Path) -> dict[str, bytes]:
    return {
        path.name: blake2b(path.read_bytes()).digest()
        for path in folder.iterdir()
        if path.name.endswith("db")
    }


def test_a_sound_folder_needs_nothing(cluster: FakeCluster, folder: Path) -> None:
    before = prints(folder)
    result = cluster.run("doctor", "--data", str(folder))
    assert result.exit_code == 0
    assert "nothing is wrong" in result.stdout
    assert f"looked into: {folder}" in result.stdout
    assert doctor(cluster, "--data", str(folder)) == (0, [])
    assert prints(folder) == before
    assert cluster["eu-1"].requests == []


def test_nothing_is_left_beside_a_file_that_was_closed(cluster: FakeCluster, folder: Path) -> None:
    before = sorted(path.name for path in folder.iterdir())
    assert "node.db-wal" not in before
    assert doctor(cluster, "--data", str(folder)) == (0, [])
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_folder_of_a_local_cluster_is_all_its_nodes(cluster: FakeCluster, folder: Path) -> None:
    other = folder.parent / "us-1"
    other.mkdir()
    trio.run(fill, other)
    flip(other, 5)
    exit_code, (finding,) = doctor(cluster, "--data", str(folder.parent))
    assert exit_code == 1
    assert (finding["code"], finding["where"]) == ("log.damaged", str(other))


def test_nodes_are_asked_too_if_one_is_named(cluster: FakeCluster, folder: Path) -> None:
    cluster["eu-1"].on("GET", STATUS, answer(status_of("eu-1", ready=False)))
    _, findings = doctor(cluster, "--data", str(folder), "--node", "eu-1")
    assert codes(findings) == ["node.not_ready"]


def test_a_flipped_byte_in_a_log_row_is_found(cluster: FakeCluster, folder: Path) -> None:
    flip(folder, 5)
    exit_code, (finding,) = doctor(cluster, "--data", str(folder))
    assert exit_code == 1
    assert finding["code"] == "log.damaged"
    assert "shop 0000000000000007:3" in finding["what"]


def test_a_flipped_byte_in_a_fold_row_is_found(cluster: FakeCluster, folder: Path) -> None:
    # In the middle of the value: it is still a cell, and not the one that was written.
    with closing(sqlite3.connect(folder / "node.db")) as connection:
        sql = "SELECT entry FROM fold WHERE object = 'x/4'"
        ((entry,),) = connection.execute(sql).fetchall()
    altered = entry.replace(b"value 4", b"value 5")
    assert altered != entry
    alter(folder, "UPDATE fold SET entry = ? WHERE object = 'x/4'", altered)
    exit_code, (finding,) = doctor(cluster, "--data", str(folder))
    assert exit_code == 1
    assert finding["code"] == "fold.root"


def test_a_fold_row_that_is_none_is_found(cluster: FakeCluster, folder: Path) -> None:
    alter(folder, "UPDATE fold SET entry = ? WHERE object = 'x/4'", b"\xc1")
    alter(folder, "UPDATE fold SET entry = 'a text' WHERE object = 'x/5'")
    alter(folder, "UPDATE fold SET lane_seq = lane_seq + 1 WHERE object = 'x/7'")
    exit_code, (finding,) = doctor(cluster, "--data", str(folder))
    assert exit_code == 1
    assert finding["code"] == "fold.damaged"
    assert "3 (x/4" in finding["what"]


def test_a_missing_fold_row_is_found(cluster: FakeCluster, folder: Path) -> None:
    alter(folder, "DELETE FROM fold WHERE object = 'x/4'")
    assert codes(doctor(cluster, "--data", str(folder))[1]) == ["fold.root"]


def test_a_fold_that_is_ahead_of_its_header_is_no_damage(cluster: FakeCluster, folder: Path) -> None:
    async def round_cut_off() -> None:
        async with SqliteStore.open(folder / "node.db") as store:
            newer = cells.write(cells.EMPTY, dot=(7, 999), hlc=9, payload=b"", replaced=())
            entries = entries_of("x/4", NO_GENERATION, "f", newer)
            await store.write_fold("shop", entries, checkpoint=CHECKPOINT)

    trio.run(round_cut_off)
    exit_code, (finding,) = doctor(cluster, "--data", str(folder))
    assert (exit_code, finding["code"], finding["serious"]) == (0, "fold.ahead", False)


def test_rows_that_are_not_of_the_log_are_found(cluster: FakeCluster, folder: Path) -> None:
    async def meddle() -> None:
        forger = Pen(Replica(), 7)
        change = forger.write([CellWrite("x/0", NO_GENERATION, "f", "forged")], hlc=1, author="b")
        async with SqliteStore.open(folder / "node.db") as store:
            await store.append([LogRecord("shop", 7, 1, change.raw)])

    trio.run(meddle)
    assert codes(doctor(cluster, "--data", str(folder))[1]) == ["log.fork"]
    alter(folder, "DELETE FROM log WHERE position = 2")  # the true first change of author 7
    assert codes(doctor(cluster, "--data", str(folder))[1]) == ["log.chain"]


def test_changes_that_were_announced_and_are_gone_are_found(cluster: FakeCluster, folder: Path) -> None:
    async def announce_more() -> None:
        async with SqliteStore.open(folder / "node.db") as store:
            row = await store.read_member(SLOT)
            assert row is not None
            await store.write_member(
                MemberRow(
                    SLOT,
                    1,
                    2,
                    7,
                    checkpoint=row.checkpoint,
                    vv={"shop": {**row.vv["shop"], 8: 99}},
                    fold=row.fold,
                )
            )

    trio.run(announce_more)
    exit_code, (finding,) = doctor(cluster, "--data", str(folder))
    assert (exit_code, finding["code"]) == (1, "log.behind")


def test_a_damaged_member_row_and_header_are_found(cluster: FakeCluster, folder: Path) -> None:
    async def junk_header() -> None:
        async with SqliteStore.open(folder / "node.db") as store:
            await store.write_member(MemberRow("eu-9", 1, 1, 7, fold={"shop": b"junk"}))

    trio.run(junk_header)
    alter(folder, "UPDATE member SET body = ? WHERE slot = ?", b"junk", SLOT)
    exit_code, findings = doctor(cluster, "--data", str(folder))
    assert exit_code == 1
    assert sorted(codes(findings)) == ["fold.header", "member.damaged"]


def test_changes_that_were_put_aside_are_told(cluster: FakeCluster, folder: Path) -> None:
    async def refuse() -> None:
        async with SqliteStore.open(folder / "node.db") as store:
            await store.put_aside(AsideRecord("shop", "fork", "us-1", b"x"))

    trio.run(refuse)
    assert codes(doctor(cluster, "--data", str(folder))[1]) == ["log.aside"]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_found(cluster: FakeCluster, folder: Path, share: float) -> None:
    path = folder / "node.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(size * share))
    exit_code, findings = doctor(cluster, "--data", str(folder))
    assert exit_code == 1
    assert findings[0]["code"] in {"file.damaged", "file.foreign"}


def test_no_flipped_byte_anywhere_breaks_it(cluster: FakeCluster, folder: Path) -> None:
    path = folder / "node.db"
    sound = path.read_bytes()
    for at in range(0, len(sound), len(sound) // 60):
        altered = bytearray(sound)
        altered[at] ^= 0xFF
        path.write_bytes(altered)
        result = cluster.run("doctor", "--data", str(folder))
        assert result.exception is None or isinstance(result.exception, SystemExit), (at, result.exception)


def test_a_file_that_is_none_of_ours_is_found(cluster: FakeCluster, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "node.db")) as connection:
        connection.execute("CREATE TABLE cookies (jar)")
    assert codes(doctor(cluster, "--data", str(tmp_path))[1]) == ["file.foreign"]
    (tmp_path / "node.db").write_bytes(b"no database at all" * 100)
    assert codes(doctor(cluster, "--data", str(tmp_path))[1]) == ["file.damaged"]


@pytest.mark.parametrize(("version", "exit_code"), [(1, 0), (99, 1)])
def test_a_file_of_another_version_is_not_looked_into(
    cluster: FakeCluster, folder: Path, version: int, exit_code: int
) -> None:
    alter(folder, "UPDATE schema SET version = ?", version)
    code, (finding,) = doctor(cluster, "--data", str(folder))
    assert (code, finding["code"]) == (exit_code, "file.version")


def test_a_folder_without_a_node_is_told(cluster: FakeCluster, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        exit_code, (finding,) = doctor(cluster, "--data", str(place))
        assert (exit_code, finding["code"]) == (1, "folder.empty")


def test_a_folder_that_a_process_works_in_is_only_read(cluster: FakeCluster, folder: Path) -> None:
    with FolderLock.acquire(folder):
        exit_code, (finding,) = doctor(cluster, "--data", str(folder))
        assert (exit_code, finding["code"]) == (0, "folder.locked")
        flip(folder, 5)
        exit_code, findings = doctor(cluster, "--data", str(folder))
        assert (exit_code, codes(findings)) == (1, ["log.damaged", "folder.locked"])
    # The lock was not taken: a node can start.
    FolderLock.acquire(folder).close()


def test_a_running_node_is_neither_waited_for_nor_held_up(cluster: FakeCluster, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "node.db", isolation_level=None)) as node:
        node.execute("BEGIN IMMEDIATE")
        node.execute("UPDATE schema SET version = 99")
        assert doctor(cluster, "--data", str(folder)) == (0, [])
        node.execute("COMMIT")


def test_a_running_nodes_fold_is_looked_at_again(
    cluster: FakeCluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(folder / "node.db")) as connection:
        ((entry, seq),) = connection.execute(
            "SELECT entry, lane_seq FROM fold WHERE object = 'x/4'"
        ).fetchall()
    newer = cells.write(cells.EMPTY, dot=(7, 999), hlc=9, payload=b"", replaced=())
    (ahead,) = entries_of("x/4", NO_GENERATION, "f", newer)
    alter(folder, "UPDATE fold SET entry = ?, lane_seq = 999 WHERE object = 'x/4'", ahead.entry)
    looks = 0

    def goes_on(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            alter(folder, "UPDATE fold SET entry = ?, lane_seq = ? WHERE object = 'x/4'", entry, seq)

    monkeypatch.setattr(folder_check, "pause", goes_on)
    with FolderLock.acquire(folder):
        _, findings = doctor(cluster, "--data", str(folder))
    assert codes(findings) == ["folder.locked"]
    assert looks == 2


def test_a_full_disk_is_told(cluster: FakeCluster, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_check, "FREE_BYTES_MIN", 1 << 62)
    exit_code, (finding,) = doctor(cluster, "--data", str(folder))
    assert (exit_code, finding["code"]) == (1, "disk.full")
    assert "MiB are free" in finding["what"]


def test_a_state_that_was_moved_aside_is_worth_knowing(cluster: FakeCluster, folder: Path) -> None:
    (folder / "returned-aa.db").write_bytes(b"")
    exit_code, (finding,) = doctor(cluster, "--data", str(folder))
    assert (exit_code, finding["code"]) == (0, "folder.returned")
