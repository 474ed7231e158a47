"""From our answers to OpenFeature's: words to its enumerations, no variant to none.

OpenFeature makes two objects of an answer, the provider's and the caller's. The one idea: that is most of what an
evaluation through it costs, so both are made here without names of arguments.
"""

from __future__ import annotations

from typing import Any, Final

from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, FlagResolutionDetails, Reason

from vexil.sdk.client.reading import Details

_REASONS: Final = {reason.value: reason for reason in Reason}
_CODES: Final = {code.value: code for code in ErrorCode}


class Resolution(FlagResolutionDetails[Any]):
    """A provider's answer."""

    def to_flag_evaluation_details(self, flag_key: str) -> FlagEvaluationDetails[Any]:
        """The caller's answer."""
        return FlagEvaluationDetails(
            flag_key,
            self.value,
            self.variant,
            self.flag_metadata,
            self.reason,
            self.error_code,
            self.error_message,
        )


def resolution_of(found: Details) -> FlagResolutionDetails[Any]:
    """``found`` as OpenFeature has it. Its metadata is a copy, because hooks get it."""
    code = found.error_code
    if code is None:
        return Resolution(
            found.value,
            None,
            None,
            _REASONS.get(found.reason, Reason.UNKNOWN),
            found.variant or None,
            {**found.metadata},
        )
    return Resolution(
        found.value,
        _CODES.get(code, ErrorCode.GENERAL),
        found.error_details,
        Reason.ERROR,
        None,
        {**found.metadata},
    )
