"""Evaluation: the materialised flag set, how it answers, and the client that keeps it fresh.

The base install of the distribution has only this. It holds no CRDT metadata and knows nothing of replication: a
flag set is a plain document, and evaluating a flag does no I/O.
"""

from __future__ import annotations

from vexil.sdk.errors import InvalidContext, SdkError
from vexil.sdk.evaluation import ABSENT, Evaluation, evaluate
from vexil.sdk.flagd import FlagdDocument, ImportedFlag, NotExportable, Problem, from_flagd, to_flagd
from vexil.sdk.model import (
    BUCKETING,
    FLAG_TYPES,
    FlagDocument,
    FlagSet,
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
    "Evaluation",
    "FlagDocument",
    "FlagSet",
    "FlagType",
    "FlagdDocument",
    "ImportedFlag",
    "InvalidContext",
    "NotExportable",
    "PrerequisiteDocument",
    "Problem",
    "RuleDocument",
    "SdkError",
    "SegmentDocument",
    "SegmentRuleDocument",
    "evaluate",
    "from_flagd",
    "to_flagd",
]
