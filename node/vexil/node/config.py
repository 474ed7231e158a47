"""What a node is told before it starts: one TOML file, overridden by environment variables.

The one idea: a configuration is either wholly understood or refused. A key that nobody reads, a number out of range
or a port that is used twice is found at the start, with the name that was probably meant, and not at three in the
morning. The value itself is plain and frozen; nothing here opens a socket or a database.

Errors::

    ConfigError    the file, a key or a value; the message names the file or variable, the key, and what is allowed
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ENVIRONMENT_PREFIX = "VEXIL_NODE_"
SECRET_VARIABLE = "VEXIL_CLUSTER_SECRET"  # noqa: S105 - the name of a variable, not a secret
NAME_BYTES_MAX = 64
SECONDS_MS = 1_000
MIB = 1024 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A service called vexil-node makes Kubernetes put such variables into every pod of its namespace; they are not ours.
_INJECTED_BY_KUBERNETES = re.compile(r"(SERVICE_(HOST|PORT)(_.*)?|PORT(_.*)?)")


class ConfigError(Exception):
    """The configuration cannot be used; the message is written for the person who started the node."""


@dataclass(frozen=True, slots=True)
class _Range:
    """The numbers that a key may take, both ends included."""

    low: int
    high: int


_PORT = {"range": _Range(1, 65_535)}
_INTERVAL_MS = {"range": _Range(10, 3_600 * SECONDS_MS)}


@dataclass(frozen=True, slots=True)
class FlagdListener:
    """A port for stock flagd clients, which send no key: it is bound to one environment of one project."""

    project: str
    environment: str
    port: int = field(metadata=_PORT)
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Everything that one node is told. Paths are absolute; durations are milliseconds, sizes bytes."""

    name: str
    """The slot: stable, unique in the cluster."""
    region: str
    data: Path = Path()
    """The node's own folder: journal, store, lock. Never shared with another node."""
    http_host: str = "127.0.0.1"
    http_port: int = field(default=8100, metadata=_PORT)
    peer_host: str = "127.0.0.1"
    peer_port: int = field(default=8101, metadata=_PORT)
    peer_advertised_url: str = ""
    """Where other nodes find the peer port, when that is not ``http://peer_host:peer_port``."""
    http_advertised_url: str = ""
    """Where clients find the HTTP port, when that is not ``http://http_host:http_port``."""
    cluster_secret_file: Path | None = None
    seeds: tuple[str, ...] = ()
    """Peer URLs to ask first; the rest of the cluster is learned from them."""
    bootstrap: bool = False
    """Start a new cluster when there is no state at all. Exactly one node of a cluster is told so."""
    dev: bool = False
    """Serve ``/api/v1/dev/links``. Never in production: it drops peer traffic on request."""
    gossip_interval_region_ms: int = field(default=1 * SECONDS_MS, metadata=_INTERVAL_MS)
    gossip_interval_remote_ms: int = field(default=5 * SECONDS_MS, metadata=_INTERVAL_MS)
    push_fanout_remote: int = field(default=2, metadata={"range": _Range(0, 100)})
    garbage_interval_ms: int = field(default=10 * SECONDS_MS, metadata=_INTERVAL_MS)
    """Between two rounds of collecting what every member has seen replaced or removed."""
    log_retention_days: int = field(default=90, metadata={"range": _Range(1, 36_500)})
    """So long the rows of the log, which is the audit trail, are kept at least."""
    clock_skew_limit_ms: int = field(default=60 * SECONDS_MS, metadata={"range": _Range(100, 86_400_000)})
    catch_up_limit_ms: int = field(default=5 * SECONDS_MS, metadata={"range": _Range(0, 3_600_000)})
    """How long the first try to catch up may hold back ``/readyz``."""
    shutdown_grace_ms: int = field(default=3 * SECONDS_MS, metadata={"range": _Range(0, 600_000)})
    """How long requests under way may take after SIGTERM."""
    request_body_bytes_max: int = field(default=2 * MIB, metadata={"range": _Range(1024, 256 * MIB)})
    import_body_bytes_max: int = field(default=256 * MIB, metadata={"range": _Range(1024, 1024 * MIB)})
    peer_frame_bytes_max: int = field(default=4 * MIB, metadata={"range": _Range(64 * 1024, 64 * MIB)})
    streams_max: int = field(default=10_000, metadata={"range": _Range(1, 1_000_000)})
    flagd_listener: tuple[FlagdListener, ...] = ()

    @property
    def peer_url(self) -> str:
        """The URL under which this node announces itself to its peers."""
        return self.peer_advertised_url.rstrip("/") or f"http://{self.peer_host}:{self.peer_port}"

    @property
    def http_url(self) -> str:
        """The URL that this node gives out for its HTTP interface."""
        return self.http_advertised_url.rstrip("/") or f"http://{self.http_host}:{self.http_port}"

    @classmethod
    def load(cls, path: Path, environment: Mapping[str, str]) -> NodeConfig:
        """The configuration of the file at ``path``, overridden by ``VEXIL_NODE_<KEY>`` of ``environment``.

        Relative paths are resolved against the folder of the file, those of the environment too. Raises ConfigError.
        """
        try:
            with path.open("rb") as file:
                values = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from error
        sources = dict.fromkeys(values, str(path))
        for key, variable, text in _overrides(environment):
            values[key] = _from_text(variable, key, text)
            sources[key] = variable
        return cls.parse(values, folder=path.resolve().parent, sources=sources, source=str(path))

    @classmethod
    def parse(
        cls,
        values: Mapping[str, Any],
        *,
        folder: Path,
        source: str = "node.toml",
        sources: Mapping[str, str] | None = None,
    ) -> NodeConfig:
        """The configuration of decoded ``values``; relative paths start at ``folder``.

        ``source`` is what messages call the whole, ``sources`` where single keys came from. Raises ConfigError.
        """
        known = {item.name: item for item in fields(cls)}
        _refuse_unknown(values, known, source)
        missing = [key for key in ("name", "region") if key not in values]
        if missing:
            raise ConfigError(f"{source}: {' and '.join(missing)} must be set")
        taken: dict[str, Any] = {}
        for key, value in values.items():
            where = f"{(sources or {}).get(key, source)}: {key}"
            if key == "flagd_listener":
                taken[key] = _listeners(value, where)
            elif key == "seeds":
                taken[key] = _seeds(value, where)
            elif key in {"data", "cluster_secret_file"}:
                taken[key] = folder / _typed(value, str, where)
            else:
                kind = {"int": int, "bool": bool, "str": str}[str(known[key].type)]
                taken[key] = _ranged(_typed(value, kind, where), known[key].metadata, where)
        taken.setdefault("data", folder)
        config = cls(**taken)
        _check(config, source)
        return config


def cluster_secret(config: NodeConfig, environment: Mapping[str, str]) -> bytes:
    """The secret that all nodes of the cluster share: ``VEXIL_CLUSTER_SECRET``, else the configured file.

    White space around it does not count. Raises ConfigError when there is none.
    """
    text = environment.get(SECRET_VARIABLE, "")
    where = SECRET_VARIABLE
    if not text and config.cluster_secret_file is not None:
        where = str(config.cluster_secret_file)
        try:
            text = config.cluster_secret_file.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"cluster_secret_file: {where} cannot be read: {error.strerror or error}"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"cluster_secret_file: {where} is not text") from error
    if not text.strip():
        raise ConfigError(
            f"no cluster secret: set cluster_secret_file or {SECRET_VARIABLE}"
            if where == SECRET_VARIABLE
            else f"cluster_secret_file: {where} is empty"
        )
    return text.strip().encode()


def _overrides(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Key, variable and text of every override, in a stable order."""
    found = []
    for variable in sorted(environment):
        key = variable.removeprefix(ENVIRONMENT_PREFIX)
        if key == variable or _INJECTED_BY_KUBERNETES.fullmatch(key):
            continue
        found.append((key.lower(), variable, environment[variable]))
    return found


def _from_text(variable: str, key: str, text: str) -> object:
    """The value that the text of a variable stands for, by the type of its key."""
    known = {item.name: str(item.type) for item in fields(NodeConfig)}
    _refuse_unknown([key], known, variable)
    if key == "flagd_listener":
        raise ConfigError(f"{variable}: {key} can only be set in the file")
    if key == "seeds":
        return [seed.strip() for seed in text.split(",") if seed.strip()]
    if known[key] == "int":
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"{variable}: {key} must be a whole number, not {text!r}") from None
    if known[key] == "bool":
        if text.lower() not in {"true", "false"}:
            raise ConfigError(f"{variable}: {key} must be true or false, not {text!r}")
        return text.lower() == "true"
    return text


def _refuse_unknown(keys: Mapping[str, Any] | list[str], known: Mapping[str, Any], source: str) -> None:
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}"
            raise ConfigError(f"{source}: unknown key {key}; {hint}")


def _typed(value: object, kind: type, where: str) -> Any:
    # In Python a bool is an int; in a configuration it never is.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {str: "a string", int: "a whole number", bool: "true or false"}
        raise ConfigError(f"{where} must be {names[kind]}, not {value!r}")
    return value


def _ranged(value: Any, metadata: Mapping[str, Any], where: str) -> Any:
    allowed: _Range | None = metadata.get("range")
    if allowed is not None and not allowed.low <= value <= allowed.high:
        raise ConfigError(f"{where} must be from {allowed.low} to {allowed.high}, not {value}")
    return value


def _seeds(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be a list of URLs, not {value!r}")
    return tuple(_url(item, where) for item in value)


def _url(value: object, where: str) -> str:
    text: str = _typed(value, str, where)
    try:
        parts = urlsplit(text)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise ConfigError(f"{where}: {text!r} is not a URL like http://10.0.0.1:8101")
    return text.rstrip("/")


def _listeners(value: object, where: str) -> tuple[FlagdListener, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be written as [[flagd_listener]] sections, not {value!r}")
    known = {item.name: item for item in fields(FlagdListener)}
    found = []
    for number, section in enumerate(value, start=1):
        here = f"{where} {number}"
        if not isinstance(section, dict):
            raise ConfigError(f"{here} must be a section, not {section!r}")
        _refuse_unknown(section, known, here)
        missing = [key for key in ("port", "project", "environment") if key not in section]
        if missing:
            raise ConfigError(f"{here}: {' and '.join(missing)} must be set")
        taken = {}
        for key, item in section.items():
            kind = int if key == "port" else str
            taken[key] = _ranged(_typed(item, kind, f"{here}: {key}"), known[key].metadata, f"{here}: {key}")
        found.append(FlagdListener(**taken))
    return tuple(found)


def _check(config: NodeConfig, source: str) -> None:
    """What no single key can tell."""
    for key, name in (("name", config.name), ("region", config.region)):
        if not _NAME.fullmatch(name) or len(name) > NAME_BYTES_MAX:
            raise ConfigError(
                f"{source}: {key} must be 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - and start with a letter or "
                f"a digit, not {name!r}"
            )
    for key, url in (("peer", config.peer_advertised_url), ("http", config.http_advertised_url)):
        if url:
            _url(url, f"{source}: {key}_advertised_url")
    ports = [
        ("http_port", config.http_host, config.http_port),
        ("peer_port", config.peer_host, config.peer_port),
        *((f"flagd_listener {n}", item.host, item.port) for n, item in enumerate(config.flagd_listener, 1)),
    ]
    used: dict[tuple[str, int], str] = {}
    for key, host, port in ports:
        other = used.setdefault((host, port), key)
        if other != key:
            raise ConfigError(f"{source}: {other} and {key} are both port {port} of {host}")
