"""The bounds of reading and evaluating, by name.

Authoring has bounds of its own, at write. These hold for whoever evaluates, whatever reached him: a document that a
newer or broken writer made, a context that a caller made up.
"""

from __future__ import annotations

from typing import Final

FLAG_KEY_BYTES_MAX: Final = 200
FLAG_BYTES_MAX: Final = 64 * 1024
"""One flag of a flagd document, as compact JSON."""
LOGIC_DEPTH_MAX: Final = 32
"""Levels of one rule or evaluator as it was written; counted by ``references.depth_of``."""
NESTING_MAX: Final = 128
"""Objects and arrays within each other in a rule after its ``$ref`` were put in. Keeps the recursion of the walk far
from the interpreter's limit."""
SEGMENT_NESTING_MAX: Final = 8
"""Segments that ask for segments while one answer is found."""
EVALUATION_STEPS_MAX: Final = 200_000
"""The budget of one evaluation, prerequisites included; ``budget`` says what a step is. Bounds time without a clock."""
NUMBER_CHARACTERS_MAX: Final = 1000
"""A longer text is no number to JsonLogic, and a longer nest of arrays neither."""
VERSION_CHARACTERS_MAX: Final = 256
"""A longer text is no version to ``sem_ver``."""
VERSIONS_KEPT_MAX: Final = 2048
"""Versions that are kept once they were read, of the whole process."""
CODE_KEPT_MAX: Final = 2048
"""Shapes of rules whose code is kept for the next flag of that shape, of the whole process."""
UNIT_NODES_MAX: Final = 160
"""Operations in one generated function; what is larger is made of several."""
UNIT_DEPTH_MAX: Final = 10
"""Operations within each other in one generated function: far from what Python's own compiler takes."""
UNIT_BRANCHES_MAX: Final = 32
"""Arguments, or branches, side by side in one generated function."""
CONSTANTS_KEPT_MAX: Final = 4096
"""Constants of rules that other rules have too, of the whole process."""
UNKNOWN_KEPT_MAX: Final = 4096
"""Keys of no flag that a flag set keeps, and that the answers are kept of, so that they cost no more than a flag."""
FOLDING_STEPS_MAX: Final = 1000
"""The budget of working out one operation on constants while a flag is compiled."""
ERROR_DETAILS_CHARACTERS_MAX: Final = 200

CONTEXT_BYTES_MAX: Final = 64 * 1024
CONTEXT_DEPTH_MAX: Final = 16
"""Objects and arrays within each other, the context itself being the first."""

SEGMENT_INLINE_MEMBERS_MAX: Final = 1000
"""A larger segment cannot be said in a flagd document."""
EXPORTED_FLAG_BYTES_MAX: Final = 1024 * 1024
"""What a flag may become in a flagd document once segments and prerequisites are inline."""
EXPORT_INLINE_MAX: Final = 100
"""Prerequisites, of prerequisites too, that one flag takes in."""
