"""From source to functions. One code object serves all functions of the same source, whatever they are bound to.

Rules are alike in what they are bound to as well: names of attributes, countries, plans. Equal texts and sets of them
become one object, which takes less memory, and less time because it is near.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CodeType, FunctionType
from typing import Any, Final

from vexil.sdk.compiler.runtime import NAMES
from vexil.sdk.limits import CODE_KEPT_MAX, CONSTANTS_KEPT_MAX

TOP: Final = ("c", "now", "b", "r")
"""Context, clock, budget, answers. The constants of a flag's rules come after, the flag set, if it needs that, last."""
UNIT: Final = ("s", "c", "now", "b", "f", "d")

_kept: Final[dict[str, CodeType]] = {}


def code_of(parameters: Sequence[str], body: Sequence[str]) -> CodeType:
    """The code of a function; kept by its source."""
    source = "\n".join([f"def flag({', '.join(parameters)}):", *body, ""])
    code = _kept.get(source)
    if code is None:
        module = compile(source, "<flag>", "exec", dont_inherit=True)
        code = next(constant for constant in module.co_consts if isinstance(constant, CodeType))
        if len(_kept) >= CODE_KEPT_MAX:
            _kept.clear()
        _kept[source] = code
    return code


_pool: Final[dict[Any, Any]] = {}


def pooled(value: Any) -> Any:
    """``value``, or an equal one that is kept, if that is a text, a set of texts or a slice."""
    kind = type(value)
    if kind is slice:
        address: Any = (value.start, value.stop)
    elif kind is str or (kind is frozenset and all(type(item) is str for item in value)):
        address = value
    else:
        return value
    kept = _pool.get(address)
    if kept is None:
        if len(_pool) >= CONSTANTS_KEPT_MAX:
            _pool.clear()
        kept = _pool.setdefault(address, value)
    return kept


def function_of(code: CodeType, bound: tuple[Any, ...]) -> Callable[..., Any]:
    """A function of ``code`` whose last parameters are ``bound``."""
    return FunctionType(code, NAMES, "flag", bound)


def names_of(constants: Sequence[Any]) -> list[str]:
    """The parameters that hold ``constants``."""
    return [f"k{number}" for number in range(len(constants))]
