"""A node's configuration is wholly understood or refused, with the name that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from vexil.node.config import ConfigError, FlagdListener, NodeConfig, cluster_secret

WHOLE = """
name = "eu-1"
region = "eu"
data = "."
http_host = "127.0.0.1"
http_port = 8100
peer_host = "127.0.0.1"
peer_port = 8101
cluster_secret_file = "../cluster.secret"
seeds = ["http://127.0.0.1:8103/"]
bootstrap = true
dev = true
gossip_interval_region_ms = 250

[[flagd_listener]]
port = 8112
project = "demo"
environment = "prod"
"""
LEAST = {"name": "eu-1", "region": "eu"}


def load(folder: Path, text: str, **variables: str) -> NodeConfig:
    path = folder / "node.toml"
    path.write_text(text)
    return NodeConfig.load(path, variables)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    config = load(tmp_path, WHOLE)
    assert config == NodeConfig(
        name="eu-1",
        region="eu",
        data=tmp_path,
        http_port=8100,
        peer_port=8101,
        cluster_secret_file=tmp_path / "../cluster.secret",
        seeds=("http://127.0.0.1:8103",),
        bootstrap=True,
        dev=True,
        gossip_interval_region_ms=250,
        flagd_listener=(FlagdListener(port=8112, project="demo", environment="prod"),),
    )
    assert config.peer_url == "http://127.0.0.1:8101"
    assert config.http_url == "http://127.0.0.1:8100"


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    config = NodeConfig.parse(LEAST, folder=tmp_path)
    assert (config.data, config.http_port, config.bootstrap, config.dev) == (tmp_path, 8100, False, False)
    assert (config.gossip_interval_region_ms, config.gossip_interval_remote_ms) == (1000, 5000)
    assert (config.garbage_interval_ms, config.log_retention_days) == (10_000, 90)
    assert config.push_fanout_remote == 2
    assert config.request_body_bytes_max == 2 * 1024 * 1024


def test_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    config = NodeConfig.parse({**LEAST, "data": "state"}, folder=tmp_path)
    assert config.data == tmp_path / "state"
    assert NodeConfig.parse({**LEAST, "data": "/var/x"}, folder=tmp_path).data == Path("/var/x")


def test_an_advertised_url_is_announced_in_place_of_the_bound_one(tmp_path: Path) -> None:
    values = {**LEAST, "peer_advertised_url": "http://n1:1/", "http_advertised_url": "https://n1"}
    config = NodeConfig.parse(values, folder=tmp_path)
    assert (config.peer_url, config.http_url) == ("http://n1:1", "https://n1")


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        WHOLE,
        VEXIL_NODE_HTTP_PORT="9000",
        VEXIL_NODE_BOOTSTRAP="false",
        VEXIL_NODE_SEEDS="http://a:1, http://b:2",
        VEXIL_NODE_DATA="elsewhere",
        VEXIL_URL="not ours",
    )
    assert config.http_port == 9000
    assert not config.bootstrap
    assert config.seeds == ("http://a:1", "http://b:2")
    assert config.data == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"VEXIL_NODE_HTP_PORT": "1"}, "VEXIL_NODE_HTP_PORT: unknown key htp_port; did you mean http_port"),
        ({"VEXIL_NODE_HTTP_PORT": "eighty"}, "VEXIL_NODE_HTTP_PORT: http_port must be a whole number"),
        ({"VEXIL_NODE_HTTP_PORT": "0"}, "VEXIL_NODE_HTTP_PORT: http_port must be from 1 to 65535"),
        ({"VEXIL_NODE_DEV": "yes"}, "VEXIL_NODE_DEV: dev must be true or false"),
        ({"VEXIL_NODE_FLAGD_LISTENER": "x"}, "can only be set in the file"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, WHOLE, **variables)


def test_variables_of_a_kubernetes_service_called_vexil_node_are_not_ours(tmp_path: Path) -> None:
    load(
        tmp_path,
        WHOLE,
        VEXIL_NODE_SERVICE_HOST="10.0.0.1",
        VEXIL_NODE_SERVICE_PORT_HTTP="8100",
        VEXIL_NODE_PORT="tcp://10.0.0.1:8100",
        VEXIL_NODE_PORT_8100_TCP_ADDR="10.0.0.1",
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"gossip_intervall_region_ms": 1000},
            "unknown key gossip_intervall_region_ms; did you mean gossip_int",
        ),
        ({"zzz": 1}, "unknown key zzz; known keys: bootstrap"),
        ({"http_port": "8100"}, "http_port must be a whole number, not '8100'"),
        ({"http_port": True}, "http_port must be a whole number"),
        ({"http_port": 65_536}, "http_port must be from 1 to 65535"),
        ({"bootstrap": 1}, "bootstrap must be true or false"),
        ({"gossip_interval_region_ms": 1}, "gossip_interval_region_ms must be from 10 to"),
        ({"garbage_interval_ms": 9}, "garbage_interval_ms must be from 10 to"),
        ({"log_retention_days": 0}, "log_retention_days must be from 1 to"),
        ({"name": "a/b"}, "name must be 1 to 64"),
        ({"name": "x" * 65}, "name must be 1 to 64"),
        ({"region": "-eu"}, "region must be 1 to 64"),
        ({"region": 3}, "region must be a string"),
        ({"seeds": "http://a:1"}, "seeds must be a list"),
        ({"seeds": ["a:1"]}, "'a:1' is not a URL"),
        ({"seeds": ["http://a:99999"]}, "is not a URL"),
        ({"peer_advertised_url": "n1"}, "peer_advertised_url: 'n1' is not a URL"),
        ({"peer_port": 8100}, "http_port and peer_port are both port 8100"),
        ({"flagd_listener": {"port": 1}}, r"\[\[flagd_listener\]\]"),
        ({"flagd_listener": [{"port": 1, "project": "demo"}]}, "flagd_listener 1: environment must be set"),
        ({"flagd_listener": [{"prot": 1}]}, "unknown key prot; did you mean port"),
        (
            {"flagd_listener": [{"port": 8101, "project": "demo", "environment": "prod"}]},
            "peer_port and flagd_listener 1 are both port 8101",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NodeConfig.parse({**LEAST, **changed}, folder=tmp_path)


@pytest.mark.parametrize("missing", ["name", "region"])
def test_a_node_must_have_a_name_and_a_region(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ConfigError, match=f"{missing} must be set"):
        NodeConfig.parse({key: value for key, value in LEAST.items() if key != missing}, folder=tmp_path)


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        NodeConfig.load(tmp_path / "node.toml", {})
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path, "name = ")


def test_the_secret_comes_from_the_environment_or_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.secret"
    file.write_text("from the file\n")
    config = NodeConfig.parse({**LEAST, "cluster_secret_file": "cluster.secret"}, folder=tmp_path)
    assert cluster_secret(config, {}) == b"from the file"
    assert cluster_secret(config, {"VEXIL_CLUSTER_SECRET": "from outside"}) == b"from outside"


@pytest.mark.parametrize("text", [None, " \n"])
def test_a_node_without_a_secret_does_not_start(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "cluster.secret").write_text(text)
    config = NodeConfig.parse({**LEAST, "cluster_secret_file": "cluster.secret"}, folder=tmp_path)
    with pytest.raises(ConfigError, match=r"cluster\.secret"):
        cluster_secret(config, {})
    with pytest.raises(ConfigError, match="no cluster secret"):
        cluster_secret(NodeConfig.parse(LEAST, folder=tmp_path), {})
