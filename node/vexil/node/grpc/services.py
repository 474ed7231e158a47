"""Every method that is served, by its path; and the two apps that serve them."""

from __future__ import annotations

from vexil.node.api.exchange import Services
from vexil.node.grpc import evaluation, events, sync
from vexil.node.grpc.app import GrpcApp
from vexil.node.grpc.places import by_key, by_port


def keyed_app(services: Services) -> GrpcApp:
    """For the node's main port: the server key in a call's metadata says which environment."""
    return GrpcApp(services, {**evaluation.METHODS, **events.methods(), **sync.methods()}, by_key(services))


def port_app(services: Services, *, project: str, environment: str) -> GrpcApp:
    """For a port of its own, bound to one environment: whoever reaches it may ask."""
    methods = {**evaluation.METHODS, **events.methods(), **sync.methods()}
    return GrpcApp(services, methods, by_port(services, project, environment))
