"""Asking for flags: the typed calls, on whatever set is held at that moment.

The one idea: the way of a good answer is one look-up, one call and one type check, without a lock, a copy or a log
line; everything that is not such an answer goes a slower way and ends as the caller's default with a reason. Nothing
is raised, whatever a flag, a context or a default holds.

Values are the flag's type or convert to it without loss: 10.0 is 10 and 10 is 10.0 up to 2⁵³ - 1; nothing else
converts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vexil.sdk.answers import ABSENT, NOT_FOUND, Evaluation
from vexil.sdk.client.not_there import FALSE as NOT_THERE_FALSE
from vexil.sdk.client.not_there import TRUE as NOT_THERE_TRUE
from vexil.sdk.client.not_there import not_there
from vexil.sdk.codes import ERROR, GENERAL, INVALID_CONTEXT, TYPE_MISMATCH
from vexil.sdk.errors import InvalidContext
from vexil.sdk.function_table import UNKNOWN
from vexil.sdk.limits import ERROR_DETAILS_CHARACTERS_MAX

NOT_READY: Final = "PROVIDER_NOT_READY"
"""The error code while there is no flag set at all; OpenFeature's word."""
LOSSLESS_MAX: Final = 2**53 - 1

Context = Mapping[str, Any] | None
"""Decoded JSON, ``targetingKey`` among it. It is read during the call and never changed."""
Details = Evaluation
"""An answer with the caller's default filled in where the flag gave no value."""
Now = Callable[[], float]
Function = Callable[[dict[str, Any], Now], Evaluation]
Functions = Mapping[str, Function]
"""By the key of a flag, its function. A key that is not there has one too: it answers so."""

_NOTHING: Final[dict[str, Any]] = {}


class Reader:
    """The typed calls. ``_functions`` is replaced as a whole by whoever owns the reader."""

    _functions: Functions
    _now: Now

    # Each of the five is written out: a helper between caller and flag would cost as much as the flag.

    def boolean(self, key: str, default: bool, context: Context = None) -> bool:  # noqa: FBT001 - a value, no switch
        """The value of a boolean flag, or ``default``."""
        try:
            function = self._functions[key]
            if function is UNKNOWN:
                return default
            value = function(context if type(context) is dict else plain(context), self._now).value
        except Exception:  # noqa: BLE001 - whatever the caller gave, he gets his default
            return default
        if value is True or value is False:
            return value
        return default

    def string(self, key: str, default: str, context: Context = None) -> str:
        """The value of a string flag, or ``default``."""
        try:
            function = self._functions[key]
            if function is UNKNOWN:
                return default
            value = function(context if type(context) is dict else plain(context), self._now).value
        except Exception:  # noqa: BLE001 - as above
            return default
        return value if type(value) is str else default

    def integer(self, key: str, default: int, context: Context = None) -> int:
        """The value of an integer flag, or of a float flag that is whole, or ``default``."""
        try:
            function = self._functions[key]
            if function is UNKNOWN:
                return default
            value = function(context if type(context) is dict else plain(context), self._now).value
        except Exception:  # noqa: BLE001 - as above
            return default
        if type(value) is int:
            return value
        found = whole(value)
        return default if found is None else found

    def float(self, key: str, default: float, context: Context = None) -> float:
        """The value of a float flag, or of an integer flag that a float can be, or ``default``."""
        try:
            function = self._functions[key]
            if function is UNKNOWN:
                return default
            value = function(context if type(context) is dict else plain(context), self._now).value
        except Exception:  # noqa: BLE001 - as above
            return default
        if type(value) is _float:
            return value
        found = real(value)
        return default if found is None else found

    def object(self, key: str, default: dict[str, Any], context: Context = None) -> dict[str, Any]:
        """The value of an object flag, as a copy that is the caller's, or ``default``."""
        try:
            function = self._functions[key]
            if function is UNKNOWN:
                return default
            value = function(context if type(context) is dict else plain(context), self._now).value
            return copied(value) if type(value) is dict else default
        except Exception:  # noqa: BLE001 - as above
            return default

    def boolean_details(self, key: str, default: bool, context: Context = None) -> Details:  # noqa: FBT001 - as above
        """As ``boolean``, with the reason."""
        try:
            function = self._functions[key]
            if function is UNKNOWN and (type(context) is dict or context is None):
                if default is False:
                    return NOT_THERE_FALSE[key]
                if default is True:
                    return NOT_THERE_TRUE[key]
            found = function(context if type(context) is dict else plain(context), self._now)
            value = found.value
        except Exception as error:  # noqa: BLE001 - as above
            return failed(key, default, error)
        if value is True or value is False:
            return found
        return settled(key, found, default, "boolean", type(default) is bool)

    def string_details(self, key: str, default: str, context: Context = None) -> Details:
        """As ``string``, with the reason."""
        try:
            found = self._functions[key](context if type(context) is dict else plain(context), self._now)
            value = found.value
        except Exception as error:  # noqa: BLE001 - as above
            return failed(key, default, error)
        if type(value) is str:
            return found
        return settled(key, found, default, "string", type(default) is str)

    def integer_details(self, key: str, default: int, context: Context = None) -> Details:
        """As ``integer``, with the reason."""
        try:
            found = self._functions[key](context if type(context) is dict else plain(context), self._now)
            value = found.value
        except Exception as error:  # noqa: BLE001 - as above
            return failed(key, default, error)
        if type(value) is int:
            return found
        converted = whole(value)
        if converted is not None:
            return with_value(found, converted)
        return settled(key, found, default, "integer", type(default) is int)

    def float_details(self, key: str, default: _float, context: Context = None) -> Details:
        """As ``float``, with the reason."""
        try:
            found = self._functions[key](context if type(context) is dict else plain(context), self._now)
            value = found.value
        except Exception as error:  # noqa: BLE001 - as above
            return failed(key, default, error)
        if type(value) is _float:
            return found
        converted = real(value)
        if converted is not None:
            return with_value(found, converted)
        return settled(key, found, default, "float", type(default) in {_float, int})

    def object_details(self, key: str, default: dict[str, Any], context: Context = None) -> Details:
        """As ``object``, with the reason."""
        try:
            found = self._functions[key](context if type(context) is dict else plain(context), self._now)
            value = found.value
            if type(value) is dict:
                return with_value(found, copied(value))
        except Exception as error:  # noqa: BLE001 - as above
            return failed(key, default, error)
        return settled(key, found, default, "object", isinstance(default, dict | list))


class View(Reader):
    """The calls on one set that does not change any more: several flags of one request, as of one moment."""

    def __init__(self, functions: Functions, now: Now, *, version: str, caught_up: bool) -> None:
        self._functions = functions
        self._now = now
        self.version = version
        self.caught_up = caught_up
        """Whether it includes the token that was asked for; True if none was."""


class WithContext(dict[str, Function]):
    """Functions that get the client's own context below the caller's. Only for clients that have one."""

    def __init__(self, functions: Functions, keys: Mapping[str, object], base: Mapping[str, Any]) -> None:
        super().__init__()
        self._inner = functions
        self._keys = keys
        self._base = dict(base)

    def __missing__(self, key: str) -> Function:
        function, base = self._inner[key], self._base
        if function is UNKNOWN:
            return function

        def merged(context: dict[str, Any], now: Now) -> Evaluation:
            return function({**base, **context}, now)

        if key in self._keys:
            self[key] = merged
        return merged


class NotReady(dict[str, Function]):
    """The functions of no set at all."""

    def __missing__(self, key: str) -> Function:
        answer = Evaluation(key, ABSENT, "", ERROR, NOT_READY, "there is no flag set yet")
        return lambda _context, _now: answer


_float = float  # the class body above has a method of that name


def plain(context: object) -> dict[str, Any]:
    """A context that is no plain dict, as one. Raises InvalidContext."""
    if context is None:
        return _NOTHING
    if isinstance(context, Mapping):
        return dict(context)
    raise InvalidContext("the context is not an object")


def whole(value: object) -> int | None:
    """The whole number that ``value``, a float, is; None if it is none without loss."""
    if type(value) is float and value.is_integer() and abs(value) <= LOSSLESS_MAX:
        return int(value)
    return None


def real(value: object) -> _float | None:
    """The float that ``value``, a whole number, is; None if it is none without loss."""
    return float(value) if type(value) is int and abs(value) <= LOSSLESS_MAX else None


def copied(value: Any) -> Any:
    """JSON, copied in depth: the set's own objects must not reach whoever may change them."""
    kind = type(value)
    if kind is dict:
        return {name: copied(item) for name, item in value.items()}
    return [copied(item) for item in value] if kind is list else value


def with_value(found: Evaluation, value: object) -> Details:
    """``found`` with another value."""
    return Evaluation(
        found.key, value, found.variant, found.reason, found.error_code, found.error_details, found.metadata
    )


def settled(key: str, found: Evaluation, default: object, kind: str, sound: bool) -> Details:  # noqa: FBT001 - of one call
    """The answer where ``found`` has no value of the type ``kind``; ``sound``: the default is of that type."""
    if found is NOT_FOUND:
        return not_there(key, default)
    if found.value is not ABSENT:
        details = f"the flag's value is {_name(found.value)}, not of type {kind}"
    elif found.error_code is not None or sound:
        return with_value(found, default)
    else:
        details = f"the flag gives no value, and the default is {_name(default)}, not of type {kind}"
    return Evaluation(key, default, "", ERROR, TYPE_MISMATCH, details, found.metadata)


def failed(key: object, default: object, error: Exception) -> Details:
    """The answer where asking itself has failed."""
    code = INVALID_CONTEXT if isinstance(error, InvalidContext) else GENERAL
    details = str(error) if isinstance(error, InvalidContext) else f"the evaluation failed: {_name(error)}"
    return Evaluation(
        key if isinstance(key, str) else repr(type(key)),
        default,
        "",
        ERROR,
        code,
        details[:ERROR_DETAILS_CHARACTERS_MAX],
    )


def _name(value: object) -> str:
    return f"of type {type(value).__name__}"
