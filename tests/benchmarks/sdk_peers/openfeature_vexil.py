"""OpenFeature's client over our provider."""

from __future__ import annotations

from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.openfeature_context import through_openfeature
from tests.benchmarks.sdk_peers.vexil_client import client_with
from vexil.sdk.openfeature import VexilProvider


def make(size: int) -> Measured:
    return through_openfeature(VexilProvider(client_with(size)), package="vexil")


if __name__ == "__main__":
    serve(make)
