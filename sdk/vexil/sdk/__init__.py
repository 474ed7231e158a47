"""Evaluation: the materialised flag set, how it answers, and the client that keeps it fresh.

The base install of the distribution has only this. It holds no CRDT metadata and knows nothing of replication: a
flag set is a plain document, and evaluating a flag does no I/O.
"""

from __future__ import annotations

from vexil.sdk.client import Client, Details, Options, Status, View
from vexil.sdk.errors import ClientMisconfigured, InvalidContext, SdkError
from vexil.sdk.evaluation import ABSENT, Evaluation, evaluate
from vexil.sdk.flagd import FlagdDocument, ImportedFlag, NotExportable, Problem, from_flagd, to_flagd
from vexil.sdk.model import BUCKETING, FlagSet
from vexil.sdk.shapes import (
    FLAG_TYPES,
    FlagDocument,
    FlagType,
    PrerequisiteDocument,
    RuleDocument,
    SegmentDocument,
    SegmentRuleDocument,
)

__all__ = [
    "ABSENT",
    "BUCKETING",
    "FLAG_TYPES",
    "Client",
    "ClientMisconfigured",
    "Details",
    "Evaluation",
    "FlagDocument",
    "FlagSet",
    "FlagType",
    "FlagdDocument",
    "ImportedFlag",
    "InvalidContext",
    "NotExportable",
    "Options",
    "PrerequisiteDocument",
    "Problem",
    "RuleDocument",
    "SdkError",
    "SegmentDocument",
    "SegmentRuleDocument",
    "Status",
    "View",
    "evaluate",
    "from_flagd",
    "to_flagd",
]
