"""Environments as flagd documents; each is compiled once for every version of its flag set."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from vexil.node.api import json_body
from vexil.node.project import Project
from vexil.sdk import ofrep
from vexil.sdk.flagd import NotExportable, to_flagd
from vexil.sdk.model import FlagSet


class Compiled(NamedTuple):
    """One document, and the flags that could not be said in it."""

    version: str
    flag_set: FlagSet
    body: bytes
    etag: str
    left_out: tuple[NotExportable, ...]


class Documents:
    """The last compiled document of each environment; bounded."""

    __slots__ = ("_made", "_max")

    def __init__(self, *, kept_max: int) -> None:
        """None yet."""
        self._max = kept_max
        self._made: OrderedDict[tuple[str, str], Compiled] = OrderedDict()

    def of(self, project: Project, environment: str) -> Compiled:
        """The document of ``environment``, which is one of the project's, as it is now."""
        address = (project.name, environment)
        flag_set = project.flag_set(environment)
        made = self._made.get(address)
        if made is None or made.flag_set is not flag_set or made.version != flag_set.version:
            made = _compile(flag_set)
            self._made[address] = made
            if len(self._made) > self._max:
                self._made.popitem(last=False)
        else:
            self._made.move_to_end(address)
        return made


def _compile(flag_set: FlagSet) -> Compiled:
    document, left_out = to_flagd(flag_set)
    body = json_body.encode(document)
    return Compiled(flag_set.version, flag_set, body, ofrep.entity_tag(body), tuple(left_out))
