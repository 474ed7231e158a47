"""Our OpenFeature provider on a running cluster, through the OpenFeature API and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import Reason
from openfeature.provider import ProviderStatus

from tests.e2e.cluster import NODES, Cluster
from tests.e2e.waiting import WITHIN_S, eventually
from vexil.sdk import Client, Options
from vexil.sdk.openfeature import VexilProvider

pytestmark = pytest.mark.xdist_group("e2e-openfeature")

OPTIONS = Options(proxy_from_environment=False, back_off_base_s=0.2, back_off_max_s=2.0)
DOMAIN = "shop"


class Service:
    """A service that asks through OpenFeature, and counts what it is told."""

    def __init__(self) -> None:
        self.of: OpenFeatureClient = api.get_client(DOMAIN)
        self.events: Counter[ProviderEvent] = Counter()
        self.changed: set[str] = set()
        for event in ProviderEvent:
            self.of.add_handler(event, partial(self._heard, event))

    def _heard(self, event: ProviderEvent, details: EventDetails) -> None:
        self.events[event] += 1
        self.changed.update(details.flags_changed or ())

    @property
    def status(self) -> ProviderStatus:
        return self.of.get_provider_status()


@contextmanager
def service(cluster: Cluster, *names: str, **more: Any) -> Iterator[Service]:
    """A service whose client follows these nodes."""
    urls = [cluster.url(name) for name in names]
    client = Client(urls, cluster.file["keys"]["server"], options=OPTIONS, **more)
    started = Service()
    try:
        api.set_provider_and_wait(VexilProvider(client, ready_timeout_s=WITHIN_S), DOMAIN)
        yield started
    finally:
        api.shutdown()
    eventually(lambda: client.status.connection == "closed")


def test_flags_of_every_type_and_what_goes_wrong_with_them(cluster: Cluster) -> None:
    values: dict[str, Any] = {"string": "yes", "integer": 7, "float": 10.0, "object": {"a": [1, None]}}
    for kind, value in values.items():
        cluster.create(
            "eu-1",
            f"of-{kind}",
            type=kind,
            variants={"on": value},
            environments={"prod": {"enabled": True, "default": "on", "metadata": {"team": "web"}}},
        )
    staff = {"id": "r1", "if": {"ends_with": [{"var": "email"}, "@shop.example"]}, "serve": "off"}
    since = {"id": "r2", "if": {"<": [{"var": "since"}, "2026-01-01T00:00:00Z"]}, "serve": "off"}
    prod = {"enabled": True, "default": "on", "rules": [staff, since]}
    cluster.create("eu-1", "of-boolean", environments={"prod": prod})
    cluster.create("eu-1", "of-off", environments={"prod": {"enabled": False}})
    with service(cluster, "eu-1") as asking:
        assert asking.status is ProviderStatus.READY
        for kind, value in values.items():
            found = getattr(asking.of, f"get_{kind}_details")(f"of-{kind}", type(value)())
            assert (found.value, found.variant, found.reason) == (value, "on", Reason.STATIC)
            assert found.flag_metadata == {"team": "web"}
        ann = EvaluationContext("u1", {"email": "ann@shop.example", "since": "2026-05-05T00:00:00Z"})
        assert asking.of.get_boolean_details("of-boolean", True, ann).reason is Reason.TARGETING_MATCH
        assert asking.of.get_boolean_value("of-boolean", True, ann) is False
        off = asking.of.get_boolean_details("of-off", True)
        assert (off.value, off.variant, off.reason, off.error_code) == (True, None, Reason.DISABLED, None)
        assert asking.of.get_boolean_details("of-none", True).error_code is ErrorCode.FLAG_NOT_FOUND
        assert asking.of.get_boolean_details("of-string", True).error_code is ErrorCode.TYPE_MISMATCH


def test_a_change_is_told_and_names_its_flags(cluster: Cluster) -> None:
    cluster.create("eu-1", "of-change")
    cluster.settle()
    with service(cluster, "ap-1") as asking:
        assert asking.of.get_boolean_value("of-change", False) is True
        cluster.patch("eu-1", "of-change", {"environments": {"prod": {"default": "off"}}})
        eventually(lambda: "of-change" in asking.changed)
        eventually(lambda: asking.of.get_boolean_value("of-change", True) is False)
        assert asking.events[ProviderEvent.PROVIDER_CONFIGURATION_CHANGED] >= 1


def test_without_any_node_a_service_goes_on_from_memory_and_starts_from_disk_and_says_stale(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.create("eu-1", "of-dark")
    cluster.settle()
    cache = tmp_path / "flags"
    with service(cluster, "eu-1", "ap-1", cache_file=cache) as asking:
        eventually(cache.exists)
        cluster.kill(*NODES)
        eventually(lambda: asking.status is ProviderStatus.STALE)
        eventually(lambda: asking.events[ProviderEvent.PROVIDER_STALE] == 1)
        assert asking.of.get_boolean_value("of-dark", False) is True
    with service(cluster, "eu-1", "ap-1", cache_file=cache) as asking:
        eventually(lambda: asking.status is ProviderStatus.STALE)
        assert asking.of.get_boolean_value("of-dark", False) is True
        cluster.start("ap-1")
        cluster.patch("ap-1", "of-dark", {"environments": {"prod": {"default": "off"}}})
        eventually(lambda: asking.of.get_boolean_value("of-dark", True) is False)
        assert asking.status is ProviderStatus.STALE, "it cannot know what the other regions have written"
        cluster.make_whole()
        eventually(lambda: asking.status is ProviderStatus.READY)


def test_without_a_node_and_a_disk_the_default_applies_until_one_is_there(cluster: Cluster) -> None:
    cluster.create("eu-1", "of-cold")
    cluster.settle()
    cluster.kill("us-1")
    client = Client(cluster.url("us-1"), cluster.file["keys"]["server"], options=OPTIONS)
    asking = Service()
    try:
        with pytest.raises(ProviderNotReadyError):
            api.set_provider_and_wait(VexilProvider(client, ready_timeout_s=0.5), DOMAIN)
        assert asking.status is ProviderStatus.ERROR
        found = asking.of.get_boolean_details("of-cold", False)
        assert (found.value, found.error_code) == (False, ErrorCode.PROVIDER_NOT_READY)
        cluster.start("us-1")
        eventually(lambda: asking.status is ProviderStatus.READY)
        assert asking.of.get_boolean_value("of-cold", False) is True
    finally:
        api.shutdown()
