"""The HTTP interface of a node: one quart-trio app over one engine.

Every request takes the same way (`dispatch`): let in (`admission`), authenticated (`auth`), read (`json_body`), made to
wait for its token (`tokens`), handled by one function of a resource module, and answered with what the node knows about
its own freshness. A handler gets a `Call` and gives an `Answer`; refusals are raised (`vexil.node.errors`) and become
``application/problem+json`` in one place (`problems`).
"""

from __future__ import annotations
