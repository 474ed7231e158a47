"""The flag set: everything that one environment of one project evaluates.

Documents, and what follows from them: which flags are on a cycle of prerequisites, the function that each flag became,
what segments run. What follows is made at its first use and made again only when it can have changed; everything here
is a function of the documents alone, so that two readers with equal documents answer alike.

There are two ways to go on from one state to the next. A node's set has one writer, who replaces whole documents in it.
A client's is never changed: `patched` makes another one, which shares all that is the same with the one before, and
whoever evaluates goes on with the one that he holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any, Final, Self, cast

from vexil.sdk.answers import FlagAnswers, failed, is_off
from vexil.sdk.buckets import V3
from vexil.sdk.codes import GENERAL
from vexil.sdk.compiler.compiler import Compiled, Compiler, Function, always
from vexil.sdk.compiler.gates import Gate, needs_of
from vexil.sdk.errors import RuleError
from vexil.sdk.function_table import Functions
from vexil.sdk.graph import on_cycles
from vexil.sdk.packing import Packed, Unpacking, pack, unpack
from vexil.sdk.references import References
from vexil.sdk.rules import defect_of
from vexil.sdk.segments import SegmentRules, Tests
from vexil.sdk.shapes import FlagDocument, SegmentDocument

__all__ = ["BUCKETING", "Cut", "FlagDocument", "FlagSet", "SegmentDocument"]

BUCKETING: Final = V3
"""The generation of flagd's bucketing that a project has if it says nothing; another puts nearly everyone elsewhere."""

_NOBODY: Final[frozenset[str]] = frozenset()


class FlagSet:
    """The flags, segments and evaluators of one environment.

    Documents are taken over, not copied, and must not be changed afterwards; a malformed one is kept and answers with
    its off path or an error. Any number of threads may evaluate; nobody may while a document is replaced.
    ``version`` and ``bucketing`` are the owner's to set. ``packed``: the documents of flags are kept as text, which is
    for sets that many processes hold and that change rarely.
    """

    __slots__ = (
        "_bucketing",
        "_compiled",
        "_compiler",
        "_cuts",
        "_cyclic",
        "_edges",
        "_evaluators",
        "_flags",
        "_functions",
        "_metadata",
        "_packed",
        "_references",
        "_segments",
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
        packed: bool = False,
    ) -> None:
        self._packed = packed
        self._flags: dict[str, FlagDocument | Packed] = {}
        self._segments = SegmentRules(segments or {})
        self._evaluators: dict[str, Any] = dict(evaluators or {})
        self._metadata: dict[str, Any] = dict(metadata or {})
        self._bucketing = bucketing
        self.version = version
        self._edges: dict[str, tuple[str, ...]] = {}
        """Prerequisites, of the flags that have any."""
        self._cyclic: frozenset[str] | None = _NOBODY
        self._references = References(self._evaluators)
        self._compiler: Compiler | None = None
        self._functions = Functions(self)
        self._compiled: dict[str, Compiled] = {}
        """Of flags whose functions are bound to this set: what to bind in the next one."""
        self._cuts: list[Cut] = []
        """Those that are open."""
        for key, document in (flags or {}).items():
            self.replace_flag(key, document)

    # -- the documents

    @property
    def flags(self) -> Mapping[str, FlagDocument]:
        """Every flag by its key; a live view."""
        return Unpacking(self._flags) if self._packed else MappingProxyType(cast(Any, self._flags))

    @property
    def kept(self) -> Mapping[str, FlagDocument | Packed]:
        """What is kept of every flag; a live view. Sets that were patched have one object for the same flag."""
        return MappingProxyType(self._flags)

    @property
    def edges(self) -> Mapping[str, tuple[str, ...]]:
        """The prerequisites of the flags that have any; a live view."""
        return MappingProxyType(self._edges)

    @property
    def segments(self) -> Mapping[str, SegmentDocument]:
        """Every segment by its key; a live view."""
        return MappingProxyType(self._segments.documents)

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

    @property
    def packed(self) -> bool:
        """Whether the documents of flags are kept as text."""
        return self._packed

    @property
    def bucketing(self) -> str:
        """The generation of flagd's bucketing; rules of a set that has an unknown one give an error."""
        return self._bucketing

    @bucketing.setter
    def bucketing(self, bucketing: str) -> None:
        if bucketing != self._bucketing:
            self._bucketing = bucketing
            self._forget_all()

    def replace_flag(self, key: str, document: FlagDocument | None) -> None:
        """Put ``document`` in the place of flag ``key``, or take the flag out."""
        needs = needs_of(document) if isinstance(document, Mapping) else ()
        edges = tuple(needed for needed, _ in needs if needed is not None)
        if edges != self._edges.get(key, ()):
            self._cyclic = None
            if edges:
                self._edges[key] = edges
            else:
                del self._edges[key]
        self._functions.forget(key)
        self._compiled.pop(key, None)
        if document is None:
            self._flags.pop(key, None)
        else:
            self._flags[key] = pack(document) if self._packed else document

    def replace_segment(self, key: str, document: SegmentDocument | None) -> None:
        """Put ``document`` in the place of segment ``key``, or take the segment out. O(1), however large it is."""
        self._segments.replace(key, document)

    def set_evaluators(self, evaluators: Mapping[str, Any]) -> None:
        """Replace all evaluators."""
        self._evaluators = dict(evaluators)
        self._references = References(self._evaluators)
        self._forget_all()

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata of the set."""
        if metadata != self._metadata:
            self._metadata = dict(metadata)
            self._forget_all()

    def patched(
        self,
        *,
        set_flags: Mapping[str, FlagDocument] | None = None,
        delete_flags: Iterable[str] = (),
        set_segments: Mapping[str, SegmentDocument] | None = None,
        delete_segments: Iterable[str] = (),
        segment_members: Mapping[str, tuple[Iterable[str], Iterable[str]]] | None = None,
        evaluators: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        bucketing: str | None = None,
        version: str,
    ) -> FlagSet:
        """Another set that differs in this; the present one, which nobody changes any more, stays as it is.

        ``segment_members`` are those who come and who go, by segment; a segment that is not there is made for them.
        The two share the documents, and the functions of flags that are the same. Takes the time to copy three
        dictionaries of flags, less than a millisecond for 10,000.
        """
        after = FlagSet(bucketing=self._bucketing, version=version, packed=self._packed)
        after._take_documents(self)
        after._take_functions(self)
        after._change(
            set_flags or {}, delete_flags, set_segments or {}, delete_segments, segment_members or {}
        )
        if evaluators is not None and evaluators != self._evaluators:
            after.set_evaluators(evaluators)
        if metadata is not None:
            after.set_metadata(metadata)
        if bucketing is not None:
            after.bucketing = bucketing
        return after

    def _change(
        self,
        set_flags: Mapping[str, FlagDocument],
        delete_flags: Iterable[str],
        set_segments: Mapping[str, SegmentDocument],
        delete_segments: Iterable[str],
        segment_members: Mapping[str, tuple[Iterable[str], Iterable[str]]],
    ) -> None:
        for key in delete_flags:
            self.replace_flag(key, None)
        for key, document in set_flags.items():
            self.replace_flag(key, document)
        for key in delete_segments:
            self.replace_segment(key, None)
        for key, segment in set_segments.items():
            self.replace_segment(key, segment)
        for key, (come, go) in segment_members.items():
            members = (frozenset(self.segment_members(key)) | frozenset(come)) - frozenset(go)
            before = self._segments.documents.get(key)
            rules = before["rules"] if before is not None else []
            self.replace_segment(key, {"members": members, "rules": rules})

    # -- what follows from them

    @property
    def functions(self) -> Mapping[str, Function]:
        """What flags became, by their key: functions of a context and a clock, compiled when they are first asked for.

        ``functions[key](context, now)``: ``context`` is a ``dict`` of decoded JSON with ``targetingKey``, which is not
        changed, ``now`` gives Unix seconds and is called by rules that look at the time. Never raises. There is one
        for every key; that of an unknown one is ``UNKNOWN``, which answers ``NOT_FOUND``. Belongs to this set for as
        long as it lives.
        """
        return self._functions

    def function_of(self, key: str) -> Function:
        """Make the function of flag ``key``, which is here, and keep it."""
        try:
            function = self._make(key, unpack(self._flags[key]))
        except Exception as error:  # noqa: BLE001 - not kept: the next one may have more stack or memory
            details = f"the flag cannot be compiled: {type(error).__name__}"
            return always(failed(key, GENERAL, details, {})).function(None)
        self._functions[key] = function
        return function

    def _make(self, key: str, document: FlagDocument) -> Function:
        compiled = self._compiled.get(key) or self.compiler.flag(key, document)
        function = compiled.function(self)
        needs = () if is_off(document) else needs_of(document)
        if compiled.linked or needs:
            self._compiled[key] = compiled
        if not needs:
            return function
        return Gate(self, FlagAnswers(key, document, self.compiler.metadata(document)), needs, function)

    @property
    def compiler(self) -> Compiler:
        """What compiles the flags, for the present evaluators, metadata and bucketing."""
        if self._compiler is None:
            self._compiler = Compiler(self._references, self._metadata, self._bucketing)
        return self._compiler

    @property
    def cyclic(self) -> frozenset[str]:
        """The flags that are their own prerequisite by some way; they are on the off path."""
        if self._cyclic is None:
            self._cyclic = on_cycles(self._edges)
        return self._cyclic

    def prerequisites(self, key: str) -> tuple[str, ...]:
        """The flags that ``key`` asks for, as written."""
        return self._edges.get(key, ())

    def defect(self, key: str) -> RuleError | None:
        """Why the rules of flag ``key``, which is here, cannot be run at all; None if they can."""
        return defect_of(unpack(self._flags[key]), self._references)

    def segment_members(self, key: str) -> AbstractSet[str]:
        """Who is listed in a segment; nobody if there is none."""
        return self._segments.members(key)

    def segment_logic(self, key: str) -> tuple[object, ...]:
        """The expanded conditions of a segment; none if there is none.

        None either for a segment on a cycle of segments: whoever is listed belongs to it, its rules are passed over.
        Raises ``RuleError`` if a rule cannot be run.
        """
        return self._segments.logic(key, self._references)

    def segment_tests(self, key: str) -> Tests:
        """`segment_logic` as functions. Raises ``RuleError`` if a rule cannot be run."""
        return self._segments.tests(key, self.compiler)

    def _forget_all(self) -> None:
        self._compiler = None
        self._functions.forget_all()
        self._compiled = {}
        self._segments.forget_rules()

    # -- as it was at one moment

    def cut(self) -> Cut:
        """This flag set as it is now, for whoever reads it while this one goes on. To be used in a ``with``.

        Takes some milliseconds for 100,000 flags: documents are not copied.
        """
        cut = Cut(self)
        self._cuts.append(cut)
        return cut

    def lends_members(self, key: str) -> bool:
        """Whether an open cut reads the members that segment ``key`` has now: then nobody may change that set."""
        return any(cut.segment_members(key) is self.segment_members(key) for cut in self._cuts)

    def release(self, cut: Cut) -> None:
        """``cut`` is not read any more."""
        self._cuts.remove(cut)

    def _take_documents(self, origin: FlagSet) -> None:
        """Become what ``origin`` is now: documents are shared, and what compiles them."""
        self._flags = origin._flags.copy()
        self._segments = origin._segments.copy()
        self._edges = origin._edges.copy()
        self._cyclic = origin._cyclic
        self._evaluators, self._references = origin._evaluators, origin._references
        self._metadata = origin._metadata
        self._compiler = origin.compiler

    def _take_functions(self, origin: FlagSet) -> None:
        """Of the same documents, take over the functions that are not bound to ``origin``."""
        self._compiled = origin._compiled.copy()
        functions = origin._functions.of_flags()
        for key in self._compiled:
            functions.pop(key, None)
        self._functions.update(functions)

    def _function_as_in(self, key: str, other: FlagSet) -> Function | None:
        """The function of a flag that is the same in ``other``; None if it is another, or bound to a set."""
        if self._compiler is not other._compiler or self._flags.get(key) is not other._flags[key]:
            return None
        function = self._functions[key]
        if key not in self._compiled:
            return function
        other._compiled[key] = self._compiled[key]
        return None


class Cut(FlagSet):
    """A flag set as it was when the cut was made, until the ``with`` is left. It is only read.

    The set that it was cut from must not change the members of a segment in place while it `lends_members`.
    """

    __slots__ = ("_origin",)

    def __init__(self, origin: FlagSet) -> None:
        super().__init__(bucketing=origin.bucketing, version=origin.version, packed=origin.packed)
        self._origin = origin
        # Its functions are taken one by one when they are asked for (`_make`): most cuts are only written down.
        self._take_documents(origin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._origin.release(self)

    def _make(self, key: str, document: FlagDocument) -> Function:
        """As long as the origin has the same flag, and compiles as then, it is made and kept there."""
        return self._origin._function_as_in(key, self) or super()._make(key, document)  # noqa: SLF001 - its own kind
