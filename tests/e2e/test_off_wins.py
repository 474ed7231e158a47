"""The kill switch and the delete, when another region did the opposite without knowing."""

from __future__ import annotations

import pytest

from tests.e2e.cluster import CONFLICTS, FLAGS, NODES, Cluster

pytestmark = pytest.mark.xdist_group("e2e-off-wins")

PROD_ON = {"environments": {"prod": {"enabled": True}}}


def test_a_kill_wins_over_whoever_enables_the_flag_without_having_seen_it(cluster: Cluster) -> None:
    cluster.create(
        "eu-1", "risky", environments={"prod": {"enabled": False, "default": "on", "off_variant": "off"}}
    )
    cluster.settle()
    cluster.isolate("ap")
    cluster.patch("ap-1", "risky", PROD_ON)
    killed = cluster.vexil("flag", "kill", "risky", "--env", "prod", "--node", "us-1")
    assert killed.returncode == 0, killed.stderr
    # The side that has not heard of the kill goes on; it cannot know better.
    assert cluster.evaluate("ap-1", "risky")["value"] is True
    cluster.rejoin("ap")
    cluster.everywhere(lambda name: cluster.evaluate(name, "risky")["reason"] == "DISABLED")
    assert [cluster.evaluate(name, "risky")["value"] for name in NODES] == [False] * len(NODES)
    cluster.settle()
    for name in NODES:
        prod = cluster.done(name, "GET", f"{FLAGS}/risky")["environments"]["prod"]
        assert (prod["kill"], prod["enabled"]) == (True, True)

    # Enabling it once more is no answer to the kill either; un-killing it by one who has seen it is.
    cluster.patch("us-2", "risky", PROD_ON)
    assert cluster.evaluate("us-2", "risky")["reason"] == "DISABLED"
    lifted = cluster.vexil("flag", "unkill", "risky", "--env", "prod", "--node", "ap-1")
    assert lifted.returncode == 0, lifted.stderr
    cluster.everywhere(lambda name: cluster.evaluate(name, "risky").get("value") is True)


def test_a_kill_wins_over_an_unkill_that_came_later_without_having_seen_it(cluster: Cluster) -> None:
    cluster.create("eu-1", "twice-killed")
    kill = f"{FLAGS}/twice-killed/environments/prod/kill"
    cluster.done("eu-1", "POST", kill)
    cluster.settle()
    cluster.isolate("ap")
    cluster.done("us-1", "POST", kill)
    # Later by every clock, by one who has seen the first kill and cannot know of the second.
    lifted = cluster.vexil("flag", "unkill", "twice-killed", "--env", "prod", "--node", "ap-1")
    assert lifted.returncode == 0, lifted.stderr
    assert cluster.evaluate("ap-1", "twice-killed")["value"] is True
    cluster.rejoin("ap")
    cluster.settle()
    for name in NODES:
        assert cluster.evaluate(name, "twice-killed")["reason"] == "DISABLED"
        (conflict,) = [each for each in cluster.items(name, CONFLICTS) if each["flag"] == "twice-killed"]
        assert (conflict["kind"], conflict["environment"]) == ("off-wins", "prod")
        assert {(each["region"], each["value"]) for each in conflict["siblings"]} == {
            ("us", True),
            ("ap", False),
        }


def test_nobody_clears_a_kill_that_he_has_not_seen(cluster: Cluster) -> None:
    cluster.create("eu-1", "careful")
    path = f"{FLAGS}/careful"
    unkill = f"{path}/environments/prod/unkill"
    before = cluster.ask("eu-1", "GET", path).headers["ETag"]
    cluster.done("eu-1", "POST", f"{path}/environments/prod/kill")
    for answer in (
        cluster.ask("eu-1", "POST", unkill),
        cluster.ask("eu-1", "PATCH", path, {"environments": {"prod": {"kill": False}}}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (428, "precondition.required")
    stale = cluster.ask("eu-1", "POST", unkill, headers={"If-Match": before})
    assert (stale.status_code, stale.json()["code"]) == (412, "flag.stale")
    assert stale.json()["current"]["environments"]["prod"]["kill"] is True
    assert cluster.evaluate("eu-1", "careful")["reason"] == "DISABLED"
    seen = cluster.ask("eu-1", "GET", path).headers["ETag"]
    assert cluster.ask("eu-1", "POST", unkill, headers={"If-Match": seen}).status_code == 200
    assert cluster.evaluate("eu-1", "careful")["value"] is True


def test_a_kill_is_written_even_where_nothing_seems_to_change(cluster: Cluster) -> None:
    cluster.create("us-1", "killed-twice")
    first = cluster.done("us-1", "POST", f"{FLAGS}/killed-twice/environments/prod/kill")["change"]
    second = cluster.done("us-1", "POST", f"{FLAGS}/killed-twice/environments/prod/kill")["change"]
    third = cluster.patch("us-1", "killed-twice", {"environments": {"prod": {"kill": True}}})["change"]
    assert len({change["id"] for change in (first, second, third)}) == 3
    assert cluster.patch("us-1", "killed-twice", {"description": ""})["change"] is None


def test_an_edit_beside_a_delete_brings_the_whole_flag_back_for_review(cluster: Cluster) -> None:
    made = cluster.create(
        "eu-1",
        "revived",
        description="all of it",
        owner="payments",
        tags=["web"],
        environments={
            "prod": {
                "enabled": True,
                "default": "off",
                "rules": [
                    {"id": "staff", "if": {"ends_with": [{"var": "email"}, "@example.com"]}, "serve": "on"}
                ],
            }
        },
    )
    cluster.settle()
    cluster.isolate("ap")
    cluster.done("us-1", "DELETE", f"{FLAGS}/revived")
    cluster.patch("ap-1", "revived", {"tags": ["web", "mobile"]})
    assert cluster.ask("us-1", "GET", f"{FLAGS}/revived").status_code == 404
    cluster.rejoin("ap")
    cluster.settle()
    for name in NODES:
        flag = cluster.done(name, "GET", f"{FLAGS}/revived")
        assert flag["needs_review"] is True
        assert (flag["description"], flag["owner"], flag["tags"]) == (
            "all of it",
            "payments",
            ["mobile", "web"],
        )
        assert flag["variants"] == made["variants"]
        assert flag["environments"] == made["environments"]
        assert cluster.evaluate(name, "revived", email="ann@example.com")["value"] is True
    (conflict,) = [each for each in cluster.items("us-2", CONFLICTS) if each["flag"] == "revived"]
    assert conflict["kind"] == "needs-review"
    (delete,) = [each for each in conflict["siblings"] if each.get("removed")]
    assert delete["region"] == "us"
    # The delete is chosen now, by one who has seen the edit.
    cluster.done("eu-2", "POST", f"{CONFLICTS}/{conflict['id']}/resolve", {"choose": delete["change"]})
    cluster.everywhere(lambda name: cluster.ask(name, "GET", f"{FLAGS}/revived").status_code == 404)
    for name in NODES:
        assert cluster.evaluate(name, "revived")["errorCode"] == "FLAG_NOT_FOUND"


def test_a_key_that_was_deleted_does_not_come_back_as_the_same_flag(cluster: Cluster) -> None:
    cluster.create("eu-1", "reborn", description="the old one", tags=["old"])
    cluster.settle()
    old = cluster.ask("us-1", "GET", f"{FLAGS}/reborn").headers["ETag"]
    cluster.done("us-1", "DELETE", f"{FLAGS}/reborn")
    cluster.settle()
    cluster.create("ap-1", "reborn", owner="new")
    cluster.settle()
    for name in NODES:
        flag = cluster.done(name, "GET", f"{FLAGS}/reborn")
        assert (flag["description"], flag["tags"], flag["owner"]) == ("", [], "new")
    stale = cluster.ask("us-1", "PATCH", f"{FLAGS}/reborn", {"owner": "me"}, headers={"If-Match": old})
    assert (stale.status_code, stale.json()["code"]) == (412, "flag.stale")


def test_a_revoked_key_opens_nothing_anywhere_and_never_again(cluster: Cluster) -> None:
    body = {"kind": "server", "project": "demo", "environment": "prod", "name": "short-lived"}
    made = cluster.done("eu-1", "POST", "/api/v1/keys", body)
    header = {"Authorization": f"Bearer {made['key']}"}
    path = "/flagd/v1/flags.json"
    cluster.everywhere(lambda name: cluster.ask(name, "GET", path, headers=header).status_code == 200)
    cluster.isolate("ap")
    cluster.done("us-1", "DELETE", f"/api/v1/keys/{made['id']}")
    assert cluster.ask("us-1", "GET", path, headers=header).status_code == 401
    assert cluster.ask("ap-1", "GET", path, headers=header).status_code == 200
    cluster.rejoin("ap")
    cluster.everywhere(lambda name: cluster.ask(name, "GET", path, headers=header).status_code == 401)
