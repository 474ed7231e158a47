"""The steps of the protocol by name: what a process can be in the midst of when something breaks.

The seams count them (`vexil.chaos.world.process_life.ProcessLife.step`); faults wait for them, and coverage is told
by them.
"""

from __future__ import annotations

from typing import Final

JOURNAL: Final = ("journal append", "journal sync", "journal replay", "journal read", "journal trim")
"""``journal sync`` is the part of an append in which its frame is written and not safe from a crash."""
STORE: Final = (
    "store read member",
    "store write member",
    "store write changes",
    "store read changes",
    "store read history",
    "store log projects",
    "store log start",
    "store trim changes",
    "store write past",
    "store write fold",
    "store read fold",
    "store collect fold",
    "store fold checkpoints",
    "store drop fold",
    "store put aside",
    "store read aside",
)
ARCHIVE: Final = ("archive row", "archive records", "archive discard")
METHODS: Final = ("join", "digest", "pull", "push", "announce", "snapshot", "past", "tree", "cells")
"""Of gossip, see `vexil.node.gossip.messages`."""
CALLS: Final = tuple(f"call {method}" for method in METHODS)
SERVICES: Final = tuple(f"serve {method}" for method in METHODS)
LOAD: Final = "load"
CLIENT_WRITE: Final = "client write"
CLIENT_READ: Final = "client read"
STEPS: Final = (LOAD, *JOURNAL, *STORE, *ARCHIVE, *CALLS, *SERVICES, CLIENT_WRITE, CLIENT_READ)
