"""The folder of a node is copied and used: as a second process beside the first, and as a backup that is put back.

The one idea: a process takes a fresh name for its changes at each start, so no copy of a disk makes two changes of one
name. What is left of the hazard is only that a copy lacks what was written after it was made.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.e2e.cluster import FLAGS, HISTORY, NODES, Cluster
from tests.e2e.ports import free_base_ports
from tests.e2e.terminal import Terminal
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.xdist_group("e2e-copied-folders")

COPIED = "us-2"
WRITES = 10
QUIET = dict.fromkeys(
    ("forks", "divergences", "twins", "unknown", "damaged", "aside", "repairs", "journal_full"), 0
)


class Clone:
    """A second process of the slot `COPIED`, on a copy of its folder that was made while it ran."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._headers = {"Authorization": f"Bearer {cluster.file['keys']['admin']}"}
        shutil.copytree(cluster.data / COPIED, folder)
        config = folder / "node.toml"
        port = next(free_base_ports(2))
        text = re.sub(r"(?m)^http_port = \d+$", f"http_port = {port}", config.read_text())
        text = re.sub(r"(?m)^peer_port = \d+$", f"peer_port = {port + 1}", text)
        text = text.partition("[[flagd_listener]]")[0]  # the last thing in it, and its port is the original's
        secret = cluster.data / "cluster.secret"
        config.write_text(
            re.sub(r"(?m)^cluster_secret_file = .*$", f'cluster_secret_file = "{secret}"', text)
        )
        self.url = f"http://127.0.0.1:{port}"
        self.terminal = Terminal("node", "--config", str(config), folder=folder)

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return httpx.request(method, self.url + path, json=body, headers=self._headers, trust_env=False)

    def is_ready(self) -> bool:
        try:
            # What the original has written since the copy was made, the copy has to get first.
            ready = self.ask("GET", "/readyz").is_success
            return ready and self.ask("GET", "/api/v1/status").json()["standing"] == "member"
        except httpx.TransportError:
            assert self.terminal.process.poll() is None, "\n".join(self.terminal.lines)
            return False


@pytest.fixture
def clone(cluster: Cluster, tmp_path: Path) -> Iterator[Clone]:
    cluster.create(COPIED, "copied", description="before the copy")
    cluster.settle()
    made = Clone(cluster, tmp_path / "clone")
    try:
        eventually(made.is_ready)
        # Until the first has heard who else writes in its name, it takes its folder for an old copy and writes nothing.
        eventually(lambda: cluster.status(COPIED)["alarms"]["twins"] == 1)
        eventually(lambda: cluster.status(COPIED)["standing"] == "member")
        yield made
    finally:
        made.terminal.close()


def test_two_processes_of_one_slot_write_on_and_no_write_of_either_is_lost(
    cluster: Cluster, clone: Clone
) -> None:
    acknowledged: dict[str, str] = {}
    for number in range(WRITES):
        ours = cluster.create(COPIED, f"original-{number}")["change"]["id"]
        answer = clone.ask(
            "POST", FLAGS, {"key": f"clone-{number}", "type": "boolean", "variants": {"on": True}}
        )
        assert answer.status_code == 201, answer.text
        theirs = answer.json()["change"]["id"]
        assert ours.partition(":")[0] != theirs.partition(":")[0]
        acknowledged |= {ours: f"original-{number}", theirs: f"clone-{number}"}
    assert len(acknowledged) == 2 * WRITES

    cluster.settle()
    state = cluster.status("eu-1")["projects"]
    eventually(lambda: clone.ask("GET", "/api/v1/status").json()["projects"] == state)
    for name in NODES:
        kept = {item["id"]: item["fields"][0]["name"] for item in cluster.items(name, HISTORY)}
        assert acknowledged.items() <= kept.items()
        # Fresh names at each start: nothing has forked. Only the two of the slot know of each other.
        assert alarms(cluster, name) == {**QUIET, "twins": int(name == COPIED)}
        assert cluster.status(name)["projects"] == state
    assert clone.terminal.end() == 0
    # The addresses of the slot are those of the last process that took it; the first takes them back as it starts.
    cluster.kill(COPIED)
    cluster.start(COPIED)
    cluster.patch("ap-1", "copied", {"description": "after the clone"})
    eventually(lambda: cluster.done(COPIED, "GET", f"{FLAGS}/copied")["description"] == "after the clone")
    cluster.settle()


def test_a_node_on_an_old_copy_of_its_folder_gets_back_what_it_had_written_since(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.create(COPIED, "backed-up", description="in the backup")
    cluster.settle()
    cluster.kill(COPIED)
    backup = tmp_path / "backup"
    shutil.copytree(cluster.data / COPIED, backup)
    cluster.start(COPIED)
    cluster.settle()
    changes = [
        cluster.patch(COPIED, "backed-up", {"description": f"{number}"})["change"]["id"]
        for number in range(WRITES)
    ]
    cluster.settle()
    cluster.kill(COPIED)
    shutil.rmtree(cluster.data / COPIED)
    shutil.copytree(backup, cluster.data / COPIED)
    cluster.start(COPIED)
    after = cluster.patch(COPIED, "backed-up", {"owner": "restored"})["change"]["id"]
    assert after.partition(":")[0] not in {change.partition(":")[0] for change in changes}
    cluster.settle()
    for name in NODES:
        flag = cluster.done(name, "GET", f"{FLAGS}/backed-up")
        assert (flag["description"], flag["owner"], flag["conflicts"]) == (f"{WRITES - 1}", "restored", [])
        assert {*changes, after} <= {item["id"] for item in cluster.items(name, HISTORY)}
        assert alarms(cluster, name) == QUIET


@pytest.mark.parametrize("name", ["eu-1", COPIED])
def test_a_node_that_has_lost_its_disk_comes_back_with_everything_that_others_have(
    cluster: Cluster, name: str
) -> None:
    changes = [cluster.create(name, f"lost-by-{name}-{number}")["change"]["id"] for number in range(WRITES)]
    cluster.settle()
    cluster.kill(name)
    lose_disk(cluster, name)
    cluster.start(name)
    for number in range(WRITES):
        assert cluster.evaluate(name, f"lost-by-{name}-{number}")["value"] is True
    cluster.create(name, f"after-the-loss-at-{name}")
    cluster.settle()
    is_all_there(cluster, changes)


def test_the_first_node_starts_with_an_empty_disk_while_nobody_else_is_up(cluster: Cluster) -> None:
    changes = [cluster.create("ap-1", f"elsewhere-{number}")["change"]["id"] for number in range(WRITES)]
    cluster.settle()
    cluster.kill(*NODES)
    lose_disk(cluster, "eu-1")
    # It cannot tell this from the first start of a new cluster; what it makes has to join the old one without harm.
    cluster.start("eu-1")
    cluster.start(*NODES[1:])
    cluster.settle()
    # Where garbage was collected since, what it wrote alone is put aside first, and comes when it has begun anew.
    is_all_there(cluster, changes, besides={"aside"})
    for name in NODES:
        assert {member["node"] for member in cluster.status(name)["members"]} == set(NODES)
    cluster.create("eu-1", "after-the-reunion")
    cluster.settle()


def alarms(cluster: Cluster, name: str) -> dict[str, int]:
    """All but that a folder is an older copy: that one is right here, in whichever process hears of it."""
    return {kind: count for kind, count in cluster.status(name)["alarms"].items() if kind != "restored"}


def has_history(cluster: Cluster, name: str, changes: set[str]) -> bool:
    return changes <= {item["id"] for item in cluster.items(name, HISTORY)}


def lose_disk(cluster: Cluster, name: str) -> None:
    for file in (cluster.data / name).glob("node.db*"):
        file.unlink()


def is_all_there(cluster: Cluster, changes: list[str], *, besides: Collection[str] = ()) -> None:
    """Every node has the changes in its log, and has raised no alarm but ``besides``."""
    for name in NODES:
        # A node that has its state from a snapshot is ready before the log behind that has come.
        eventually(partial(has_history, cluster, name, set(changes)))
        raised = {kind for kind, count in alarms(cluster, name).items() if count}
        assert raised <= set(besides), raised
