"""The hash of a project in a digest is made anew each time.

Nothing may change: what is remembered of it is remembered for one state of the project.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.gossip import digest, exchange, service
from vexil.node.project import Project


def _project_hash(project: Project) -> bytes:
    project.digest_cache = None
    return digest.project_hash(project)


@contextmanager
def _apply() -> Iterator[None]:
    with (
        patch.object(exchange, "project_hash", _project_hash),
        patch.object(service, "project_hash", _project_hash),
    ):
        yield


BENIGN: Final = Benign("digest made anew", _apply, trace="same")
