"""OpenFeature's client over the stock flagd provider, which evaluates a file in this process."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType

from tests.benchmarks.sdk_peers.flagd_flags import document_with
from tests.benchmarks.sdk_peers.measuring import Measured, serve
from tests.benchmarks.sdk_peers.openfeature_context import through_openfeature

FOLDER = tempfile.TemporaryDirectory()  # as long as the process: the provider looks at the file now and then


def make(size: int) -> Measured:
    file = Path(FOLDER.name) / "flags.json"
    file.write_text(json.dumps(document_with(size)), encoding="utf-8")
    provider = FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(file))
    return through_openfeature(provider, package="openfeature-provider-flagd")


if __name__ == "__main__":
    serve(make)
