"""Which environment a call is about, and whether its caller may ask: by his key, or by the port that he came to.

A stream is asked again whenever it has something to say, so that a key that was revoked, or an environment that is
gone, ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vexil.node.api.access_keys import SERVER
from vexil.node.api.exchange import Services
from vexil.node.errors import KeyForbidden, NodeNotReady
from vexil.node.grpc.statuses import CallFailed, Code
from vexil.node.project import Project
from vexil.sdk.model import FlagSet


@dataclass(frozen=True, slots=True)
class Place:
    """One environment of a project that is there."""

    project: Project
    environment: str

    @property
    def flag_set(self) -> FlagSet:
        """What it evaluates now."""
        return self.project.flag_set(self.environment)


Finder = Callable[[Mapping[str, str]], Place]
"""From a call's metadata to its place. Raises ApiError, CallFailed."""


def by_key(services: Services) -> Finder:
    """The environment of the server key in ``authorization`` or ``x-api-key``."""

    def find(metadata: Mapping[str, str]) -> Place:
        _check_ready(services)
        caller = services.authenticator.caller(metadata.get("authorization"), metadata.get("x-api-key"))
        if caller.kind != SERVER:
            # Documents hold rules, which a key that anybody can read out of a page must not show.
            raise KeyForbidden(f"this needs a key of the kind {SERVER}")
        return _there(services, caller.project or "", caller.environment or "")

    return find


def by_port(services: Services, project: str, environment: str) -> Finder:
    """The environment that a port is bound to, for whoever reaches it."""

    def find(_: Mapping[str, str]) -> Place:
        _check_ready(services)
        return _there(services, project, environment)

    return find


def _check_ready(services: Services) -> None:
    if not services.node.ready:
        raise NodeNotReady("the node is loading its state")


def _there(services: Services, name: str, environment: str) -> Place:
    project = services.node.project(name)
    if project is None or environment not in project.environments:
        # Not NOT_FOUND, which clients take for a flag's: it may be on its way here, so they are to come again.
        raise CallFailed(
            Code.UNAVAILABLE, f"there is no environment {environment!r} of project {name!r} here"
        )
    return Place(project, environment)
