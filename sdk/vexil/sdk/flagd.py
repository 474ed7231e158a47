"""flagd's JSON document, the exchange format, in both directions.

Export compiles: what flagd has no words for is said with the words it has, and what cannot be said is named. Import
takes a document apart flag by flag; what is wrong with one is told and does not stop the others.
"""

from __future__ import annotations

from vexil.sdk.flagd_export import FlagdExport, NotExportable, not_exportable, to_flagd
from vexil.sdk.flagd_import import FlagdDocument, ImportedFlag, Problem, from_flagd

__all__ = [
    "FlagdDocument",
    "FlagdExport",
    "ImportedFlag",
    "NotExportable",
    "Problem",
    "from_flagd",
    "not_exportable",
    "to_flagd",
]
