"""The flag set: everything that one environment of one project evaluates.

It is a container with one writer, who replaces whole documents; a document is never changed once it is here. What
follows from many documents together is kept beside them and made again only when it can have changed: which flags are
on a prerequisite cycle, what each flag runs. Everything here is a function of the documents alone, so that two
readers with equal documents answer alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Final, Literal, NotRequired, Self, TypedDict

from vexil.sdk.errors import RuleError
from vexil.sdk.graph import on_cycles
from vexil.sdk.references import References
from vexil.sdk.rules import NOTHING_TO_RUN, Compiled, compile_flag, has_logic, segments_named_in

FlagType = Literal["boolean", "string", "integer", "float", "object"]
FLAG_TYPES: Final[tuple[FlagType, ...]] = ("boolean", "string", "integer", "float", "object")

BUCKETING: Final = "v3"
"""The one generation of flagd's bucketing that this version knows; another would put nearly everyone elsewhere."""

_NOBODY: Final[frozenset[str]] = frozenset()

# "if" is a keyword: these two cannot be written as classes.
RuleDocument = TypedDict(
    "RuleDocument",
    {
        "id": str,
        "if": Any,
        "serve": NotRequired[str],
        "split": NotRequired[list[Any]],
        "by": NotRequired[Any],
    },
)
"""A rule: ``serve`` or ``split`` (``[[variant, weight], …]``), the latter with ``by`` (JsonLogic) or without."""
SegmentRuleDocument = TypedDict("SegmentRuleDocument", {"id": str, "if": Any})
"""A rule of a segment: whoever it holds for belongs to it."""


class PrerequisiteDocument(TypedDict):
    """Another flag of this environment, and the variant that it must give."""

    flag: str
    variant: str


class FlagDocument(TypedDict):
    """One flag in one environment, as it is evaluated.

    ``enabled`` is false for a killed flag too. ``rules`` and ``targeting`` exclude each other. ``broken`` is the
    reason why the flag is on the off path whatever else it says.
    """

    type: FlagType
    enabled: bool
    off_variant: str | None
    default: str | None
    variants: dict[str, Any]
    rules: list[RuleDocument]
    targeting: dict[str, Any] | None
    prerequisites: list[PrerequisiteDocument]
    metadata: dict[str, Any]
    client_visible: bool
    broken: NotRequired[str]


class SegmentDocument(TypedDict):
    """A group of people: those listed, and those for whom a rule holds."""

    members: AbstractSet[str]
    rules: list[SegmentRuleDocument]


class FlagSet:
    """The flags, segments and evaluators of one environment.

    Owned by one writer: nobody may read while a document is replaced. Documents are taken over, not copied, and must
    not be changed afterwards; a malformed one is kept and answers with its off path or an error. ``version`` and
    ``bucketing`` are the owner's to set.
    """

    __slots__ = (
        "_compiled",
        "_cuts",
        "_cyclic",
        "_edges",
        "_evaluators",
        "_flags",
        "_metadata",
        "_references",
        "_segment_logic",
        "_segments",
        "bucketing",
        "version",
    )

    def __init__(
        self,
        *,
        flags: Mapping[str, FlagDocument] | None = None,
        segments: Mapping[str, SegmentDocument] | None = None,
        evaluators: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        bucketing: str = BUCKETING,
        version: str = "",
    ) -> None:
        self._flags: dict[str, FlagDocument] = {}
        self._segments: dict[str, SegmentDocument] = dict(segments or {})
        self._evaluators: dict[str, Any] = dict(evaluators or {})
        self._metadata: dict[str, Any] = dict(metadata or {})
        self.bucketing = bucketing
        self.version = version
        self._edges: dict[str, tuple[str, ...]] = {}
        """Prerequisites, of the flags that have any."""
        self._cyclic: frozenset[str] | None = _NOBODY
        self._references = References(self._evaluators)
        self._compiled: dict[str, Compiled] = {}
        """Of flags that were evaluated and have something to run."""
        self._segment_logic: dict[str, tuple[object, ...] | RuleError] | None = None
        self._cuts: list[Cut] = []
        """Those that are open."""
        for key, document in (flags or {}).items():
            self.replace_flag(key, document)

    # -- the documents

    @property
    def flags(self) -> Mapping[str, FlagDocument]:
        """Every flag by its key; a live view."""
        return MappingProxyType(self._flags)

    @property
    def segments(self) -> Mapping[str, SegmentDocument]:
        """Every segment by its key; a live view."""
        return MappingProxyType(self._segments)

    @property
    def evaluators(self) -> Mapping[str, Any]:
        """Rules that flags share, by the name that ``$ref`` gives; a live view."""
        return MappingProxyType(self._evaluators)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What every evaluation says beside the flag's own metadata; a live view."""
        return MappingProxyType(self._metadata)

    @property
    def references(self) -> References:
        """The evaluators, put in where they are named; another object whenever they are others."""
        return self._references

    def replace_flag(self, key: str, document: FlagDocument | None) -> None:
        """Put ``document`` in the place of flag ``key``, or take the flag out."""
        edges = () if document is None else _prerequisites_of(document)
        if edges != self._edges.get(key, ()):
            self._cyclic = None
            if edges:
                self._edges[key] = edges
            else:
                del self._edges[key]
        self._compiled.pop(key, None)
        if document is None:
            self._flags.pop(key, None)
        else:
            self._flags[key] = document

    def replace_segment(self, key: str, document: SegmentDocument | None) -> None:
        """Put ``document`` in the place of segment ``key``, or take the segment out. O(1), however large it is."""
        before = self._segments.get(key)
        if document is None:
            self._segments.pop(key, None)
        else:
            self._segments[key] = document
        if _rules_of(before) != _rules_of(document):
            self._segment_logic = None

    def set_evaluators(self, evaluators: Mapping[str, Any]) -> None:
        """Replace all evaluators."""
        self._evaluators = dict(evaluators)
        self._references = References(self._evaluators)
        self._compiled.clear()
        self._segment_logic = None

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata of the set."""
        self._metadata = dict(metadata)

    # -- what follows from them

    @property
    def cyclic(self) -> frozenset[str]:
        """The flags that are their own prerequisite by some way; they are on the off path."""
        if self._cyclic is None:
            self._cyclic = on_cycles(self._edges)
        return self._cyclic

    def prerequisites(self, key: str) -> tuple[str, ...]:
        """The flags that ``key`` asks for, as written."""
        return self._edges.get(key, ())

    def compiled(self, key: str) -> Compiled:
        """What flag ``key``, which is here, runs; made at its first use and kept."""
        compiled = self._compiled.get(key)
        if compiled is None:
            document = self._flags[key]
            if not has_logic(document):
                return NOTHING_TO_RUN
            compiled = self._compiled[key] = compile_flag(document, self._references)
        return compiled

    def segment_members(self, key: str) -> AbstractSet[str]:
        """Who is listed in a segment; nobody if there is none."""
        document = self._segments.get(key)
        members = document.get("members") if isinstance(document, Mapping) else None
        return members if isinstance(members, AbstractSet) else _NOBODY

    def segment_logic(self, key: str) -> tuple[object, ...]:
        """The expanded conditions of a segment; none if there is none.

        None either for a segment on a cycle of segments: whoever is listed belongs to it, its rules are passed over.
        Raises ``RuleError`` if a rule cannot be run.
        """
        logic = self._logic_of_segments().get(key, ())
        if isinstance(logic, RuleError):
            raise logic.with_traceback(None)
        return logic

    # -- as it was at one moment

    def cut(self) -> Cut:
        """This flag set as it is now, for whoever reads it while this one goes on. To be used in a ``with``.

        Takes some milliseconds for 100,000 flags: documents are not copied.
        """
        cut = Cut(
            self,
            flags=self._flags.copy(),
            segments=self._segments.copy(),
            edges=self._edges.copy(),
            segment_logic=self._logic_of_segments(),
        )
        self._cuts.append(cut)
        return cut

    def lends_members(self, key: str) -> bool:
        """Whether an open cut reads the members that segment ``key`` has now: then nobody may change that set."""
        return any(cut.segment_members(key) is self.segment_members(key) for cut in self._cuts)

    def release(self, cut: Cut) -> None:
        """``cut`` is not read any more."""
        self._cuts.remove(cut)

    def _logic_of_segments(self) -> dict[str, tuple[object, ...] | RuleError]:
        if self._segment_logic is None:
            self._segment_logic = self._compile_segments()
        return self._segment_logic

    def _compile_segments(self) -> dict[str, tuple[object, ...] | RuleError]:
        compiled: dict[str, tuple[object, ...] | RuleError] = {}
        edges: dict[str, Sequence[str]] = {}
        for key, document in self._segments.items():
            rules = _rules_of(document)
            if not rules:
                continue
            try:
                logic = tuple(self._references.expand(rule) for rule in rules)
            except RuleError as error:
                compiled[key] = error
                continue
            compiled[key] = logic
            edges[key] = sorted(frozenset[str]().union(*map(segments_named_in, logic)))
        for key in on_cycles(edges):
            del compiled[key]
        return compiled


class Cut(FlagSet):
    """A flag set as it was when the cut was made, until the ``with`` is left. It is only read.

    The set that it was cut from must not change the members of a segment in place while it `lends_members`.
    """

    __slots__ = ("_origin",)

    def __init__(
        self,
        origin: FlagSet,
        *,
        flags: dict[str, FlagDocument],
        segments: dict[str, SegmentDocument],
        edges: dict[str, tuple[str, ...]],
        segment_logic: dict[str, tuple[object, ...] | RuleError],
    ) -> None:
        super().__init__(
            evaluators=origin.evaluators,
            metadata=origin.metadata,
            bucketing=origin.bucketing,
            version=origin.version,
        )
        self._origin = origin
        self._flags = flags
        self._segments = segments
        self._edges = edges
        self._cyclic = origin.cyclic
        self._references = origin.references
        self._segment_logic = segment_logic

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._origin.release(self)

    def compiled(self, key: str) -> Compiled:
        """What flag ``key`` runs; as long as the origin has the same flag, it is made and kept there."""
        origin = self._origin
        if origin.references is self._references and origin.flags.get(key) is self._flags[key]:
            return origin.compiled(key)
        return super().compiled(key)


def _prerequisites_of(document: object) -> tuple[str, ...]:
    written = document.get("prerequisites") if isinstance(document, Mapping) else None
    if not isinstance(written, list | tuple):
        return ()
    flags = [entry.get("flag") for entry in written if isinstance(entry, Mapping)]
    return tuple(flag for flag in flags if isinstance(flag, str))


def _rules_of(document: object) -> list[object]:
    rules = document.get("rules") if isinstance(document, Mapping) else None
    if not isinstance(rules, list | tuple):
        return []
    return [rule["if"] for rule in rules if isinstance(rule, Mapping) and "if" in rule]
