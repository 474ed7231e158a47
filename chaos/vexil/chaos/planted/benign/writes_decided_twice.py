"""Every write is decided twice, and the second decision counts.

Nothing may change: to decide is a pure function of the state, and has always been allowed to run more than once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

from vexil.chaos.planted.benign_refactor import Benign
from vexil.node.authoring.intent import Intent
from vexil.node.pipeline import Committed, LocalJob, Pipeline
from vexil.node.project import Project


@contextmanager
def _apply() -> Iterator[None]:
    sound = Pipeline.write

    async def write(self: Pipeline, job: LocalJob) -> Committed:
        decide = job.decide

        def twice(project: Project) -> Intent:
            decide(project)
            return decide(project)

        job.decide = twice
        return await sound(self, job)

    with patch.object(Pipeline, "write", write):
        yield


BENIGN: Final = Benign("writes decided twice", _apply, trace="same")
