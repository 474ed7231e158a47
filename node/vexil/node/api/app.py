"""The app: all routes of a node's HTTP port, put together."""

from __future__ import annotations

from random import Random
from typing import Final

import trio
from quart import Response
from quart_trio import QuartTrio

from vexil.node.api import (
    backup,
    changes,
    cors,
    dispatch,
    explain,
    flagd_documents,
    flags,
    keys,
    members,
    ofrep,
    ofrep_stream,
    operations,
    projects,
    sdk_flags,
    sdk_stream,
    segments,
    transfer,
)
from vexil.node.api.admission import Admission
from vexil.node.api.auth import Authenticator
from vexil.node.api.connection import Connection, NoWebSocket
from vexil.node.api.documents import Documents
from vexil.node.api.exchange import Routes, Services
from vexil.node.api.flag_set_documents import FlagSetDocuments
from vexil.node.api.flag_set_patches import FlagSetPatches
from vexil.node.api.limits import ApiLimits
from vexil.node.api.port import Links, Node
from vexil.node.api.request_body import bounded
from vexil.node.api.tickets import SECRET_BYTES, Tickets
from vexil.node.grpc.app import WithGrpc
from vexil.node.grpc.services import keyed_app
from vexil.node.metrics import Metrics
from vexil.node.seams import Clock, Entropy
from vexil.node.telemetry import Log

ROUTES: Final[Routes] = (
    *operations.ROUTES,
    *projects.ROUTES,
    *flags.ROUTES,
    *explain.ROUTES,
    *segments.ROUTES,
    *changes.ROUTES,
    *transfer.ROUTES,
    *backup.ROUTES,
    *keys.ROUTES,
    *members.ROUTES,
    *ofrep.ROUTES,
    *ofrep_stream.ROUTES,
    *flagd_documents.ROUTES,
    *sdk_flags.ROUTES,
    *sdk_stream.ROUTES,
)
UNKNOWN: Final = "unknown"
"""The route under which requests for no route are counted."""


class NodeApp(QuartTrio):
    """The app of a node's HTTP port; other ports of the node serve with the same ``services``."""

    services: Services


def create_app(
    engine: Node,
    *,
    clock: Clock,
    entropy: Entropy,
    rng: Random,
    logger: Log,
    metrics: Metrics,
    dev_links: Links | None = None,
    ticket_secret: bytes | None = None,
    limits: ApiLimits | None = None,
) -> NodeApp:
    """The ASGI app of ``engine``'s HTTP port. ``dev_links`` is given in dev mode only.

    ``ticket_secret`` signs tickets of event streams: nodes that share it take each other's. Without it, only its own.

    The engine may still be loading: until it is ready everything but health, metrics and status is refused.
    """
    limits = limits or ApiLimits()
    services = Services(
        node=engine,
        clock=clock,
        entropy=entropy,
        rng=rng,
        log=logger,
        metrics=metrics,
        limits=limits,
        authenticator=Authenticator(lambda: engine.directory.keys, cached_max=limits.keys_cached_max),
        documents=Documents(kept_max=limits.documents_cached_max),
        flag_sets=FlagSetDocuments(kept_max=limits.sets_cached_max),
        patches=FlagSetPatches(),
        tickets=Tickets(ticket_secret or entropy.token_bytes(SECRET_BYTES)),
        links=dev_links,
        token_waits=trio.CapacityLimiter(limits.token_waits_max),
        imports=trio.CapacityLimiter(limits.imports_max),
    )
    app = NodeApp(__name__, static_folder=None)
    app.services = services
    app.request_class = bounded(limits)
    app.asgi_http_class = Connection
    app.asgi_websocket_class = NoWebSocket
    app.config.update(
        PROVIDE_AUTOMATIC_OPTIONS=False,
        RESPONSE_TIMEOUT=limits.answer_timeout_s,
        BODY_TIMEOUT=None,  # ours: `BoundedRequest.read`
        MAX_CONTENT_LENGTH=None,
    )
    # A redirect to a prettier path would be an answer that no interface promises.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    for number, route in enumerate(ROUTES):
        app.add_url_rule(
            route.path,
            endpoint=str(number),
            view_func=dispatch.view(route, services),
            methods=[route.method],
            strict_slashes=True,
        )

    async def unrouted(error: Exception) -> Response:
        """What the framework itself refuses: no such path, another method, a request that it cannot read."""
        request = dispatch.present_request()
        answer = await dispatch.refused(error, request, services, route=UNKNOWN, writes=False)
        if request.path.startswith(cors.PREFIX):
            cors.allow(answer, None)
        metrics.observe_request(request.method, UNKNOWN, answer.status, 0.0)
        return dispatch.response(answer)

    app.register_error_handler(Exception, unrouted)
    admission = Admission(app.asgi_app, limits, rng, metrics, logger)
    app.asgi_app = WithGrpc(keyed_app(services), admission)  # type: ignore[method-assign]
    return app
