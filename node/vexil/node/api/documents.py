"""Environments as flagd documents; each is compiled once for every version of its flag set."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from vexil.node.api import json_body
from vexil.node.api.made_once import MadeOnce
from vexil.node.api.turns import in_turns
from vexil.node.project import Project
from vexil.sdk import ofrep
from vexil.sdk.flagd import FlagdExport, NotExportable
from vexil.sdk.model import FlagSet


class Compiled(NamedTuple):
    """One document, and the flags that could not be said in it."""

    version: str
    body: bytes
    etag: str
    left_out: tuple[NotExportable, ...]


class Documents:
    """The last compiled document of each environment; bounded."""

    __slots__ = ("_made",)

    def __init__(self, *, kept_max: int) -> None:
        """None yet."""
        self._made: MadeOnce[tuple[str, str], Compiled] = MadeOnce(kept_max=kept_max)

    async def of(self, project: Project, environment: str) -> Compiled:
        """The document of ``environment``, which is one of the project's, at one moment since the call began.

        A large one takes many turns of the event loop. Callers that come together share one compilation.
        """
        flag_set = project.flag_set(environment)
        return await self._made.of(
            (project.name, environment),
            flag_set,
            partial(_compile, flag_set),
            current=lambda made: made.version == flag_set.version,
        )


async def _compile(flag_set: FlagSet) -> Compiled:
    flags: list[bytes] = []
    with flag_set.cut() as cut:
        export = FlagdExport(cut)
        async for turn in in_turns(sorted(cut.flags)):
            flags += [
                json_body.encode(key) + b":" + json_body.encode(flag)
                for key, flag in export.flags(turn).items()
            ]
        others = json_body.encode(export.others())[1:-1]
    body = b'{"flags":{' + b",".join(flags) + b"}" + (b"," + others if others else b"") + b"}"
    return Compiled(cut.version, body, ofrep.entity_tag(body), tuple(export.left_out))
