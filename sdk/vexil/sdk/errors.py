"""What vexil.sdk raises: the one exception tree.

Evaluation itself raises none of them: it answers with an ``Evaluation`` that carries the code::

    SdkError
    ├── RuleError         a rule cannot be run; ``code`` is the OpenFeature error code
    ├── InvalidContext    a request whose evaluation context is refused
    ├── CannotSay         something cannot be said in flagd's language
    ├── ClientMisconfigured  a client was made with what cannot work
    └── TransportError    (``client.seams``) a request to a node brought no usable answer
"""

from __future__ import annotations


class SdkError(Exception):
    """Root of all errors of this package."""


class RuleError(SdkError):
    """A rule that cannot be run, or that gave what nobody can serve."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class InvalidContext(SdkError):
    """An evaluation context that is not JSON, not an object, or over a limit; the message says which."""


class CannotSay(SdkError):
    """A flag that means something for which flagd has no words; the message says what."""


class ClientMisconfigured(SdkError, ValueError):
    """A client was made with what cannot work (no URL, a key that is none, …); the message says what."""
