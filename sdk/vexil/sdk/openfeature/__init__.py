"""Vexil behind the OpenFeature API: a provider over a client. Needs the extra ``openfeature``.

The one idea: the client already answers from memory, so that a provider only has to translate: OpenFeature's context to
ours, our answer to OpenFeature's, the client's status and changes to its events.
"""

from __future__ import annotations

from vexil.sdk.openfeature.provider import FlagClient, OnTrack, VexilProvider

__all__ = ["FlagClient", "OnTrack", "VexilProvider"]
