"""The words that OpenFeature and OFREP give a fixed spelling: reasons and error codes."""

from __future__ import annotations

from typing import Final

STATIC: Final = "STATIC"
TARGETING_MATCH: Final = "TARGETING_MATCH"
DEFAULT: Final = "DEFAULT"
DISABLED: Final = "DISABLED"
ERROR: Final = "ERROR"

FLAG_NOT_FOUND: Final = "FLAG_NOT_FOUND"
PARSE_ERROR: Final = "PARSE_ERROR"
TYPE_MISMATCH: Final = "TYPE_MISMATCH"
GENERAL: Final = "GENERAL"
TARGETING_KEY_MISSING: Final = "TARGETING_KEY_MISSING"
INVALID_CONTEXT: Final = "INVALID_CONTEXT"
ERROR_CODES: Final = frozenset(
    {FLAG_NOT_FOUND, PARSE_ERROR, TYPE_MISMATCH, GENERAL, TARGETING_KEY_MISSING, INVALID_CONTEXT}
)
