"""The client: what a service holds, asks, and closes.

The one idea: two sides that share one reference. The background run replaces ``_functions`` as a whole, callers read
it; neither ever waits for the other. Everything else here is for the seldom moments: starting, waiting, forking,
closing.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from vexil.sdk.client.adapters import processes
from vexil.sdk.client.adapters.background import Background, Board, Countdown
from vexil.sdk.client.adapters.notifier import Notifier, OnChange, OnStatus
from vexil.sdk.client.adapters.system import now_s
from vexil.sdk.client.catching_up import Ticket
from vexil.sdk.client.core import Core, Plan
from vexil.sdk.client.options import NODES_MAX, Options, positive
from vexil.sdk.client.reading import Function, Functions, NotReady, Reader, View, WithContext
from vexil.sdk.client.running import Running, Weakly
from vexil.sdk.client.state import Held, Publication
from vexil.sdk.client.status import Status
from vexil.sdk.client.tokens import Order, is_sendable, order
from vexil.sdk.errors import ClientMisconfigured
from vexil.sdk.model import FlagSet

POLL_S: Final = 30.0
CLOSE_S: Final = 3.0
"""What closing waits for the background to end."""

_STARTING = Status(ready=False, source="none", connection="starting", stale_since=None)


class Client(Reader):
    """The flags of one environment, in memory, followed from the nodes at ``urls``.

    ``urls``: one, or several in order of preference, for example those of the own region first. ``key``: a server
    key; it decides project and environment. ``cache_file``: where the set is kept for a start without any node.
    ``bootstrap_file``: what to start from if there is no such file yet; the answer of ``/sdk/v1/flags``. ``offline``:
    use the files only. ``context``: what every evaluation has below the context of the call.

    It starts working at once, in the background; until it has a set, calls give their defaults. All methods may be
    called from any thread, within any event loop, and in a process that was forked. Raises ClientMisconfigured, and
    nothing else later on.
    """

    def __init__(
        self,
        urls: str | Iterable[str],
        key: str,
        *,
        cache_file: str | Path | None = None,
        bootstrap_file: str | Path | None = None,
        offline: bool = False,
        poll_s: float = POLL_S,
        context: Mapping[str, Any] | None = None,
        options: Options | None = None,
    ) -> None:
        self._options = options or Options()
        nodes = () if offline else _urls(urls)
        self._plan = Plan(
            urls=nodes, key=_key(key, nodes), poll_s=positive("poll_s", poll_s), options=self._options
        )
        self._cache_file = _path(cache_file)
        self._bootstrap_file = _path(bootstrap_file)
        self._context = _base(context)
        self._now = now_s
        self._functions = NotReady()
        self._publication = Publication(Held(flag_set=FlagSet()), _STARTING, settled=False)
        self._board = Board()
        self._notifier = Notifier(self._publication.held.flag_set, _STARTING)
        self._closed = False
        self._asleep = True
        self._core: Core | None = None
        self._background: Background | None = None
        self._of_parent: object = None
        processes.remember(self)
        self._wake()

    # -- what there is

    @property
    def flag_set(self) -> FlagSet:
        """The present set; it is never changed, only replaced."""
        return self._present().held.flag_set

    @property
    def status(self) -> Status:
        """How it is now."""
        return self._present().status

    def view(self, *, token: str | None = None, timeout_s: float = 1.0) -> View:
        """The present set for several questions at one moment; with ``token``, as ``catch_up``, one that includes it.

        ``caught_up`` of the view says whether that was reached; the questions are answered in any case.
        """
        caught_up = token is None or self.catch_up(token, timeout_s)
        held = self._present().held
        return View(self._functions, self._now, version=held.flag_set.version, caught_up=caught_up)

    # -- waiting

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until a node has given the set, or all were tried in vain and a file has; at most ``timeout_s``.

        Whether there is a set to answer from, from wherever; ``status`` says from where.
        """
        present = self._present()
        if not (present.settled and present.status.ready):
            self._board.wait(self._need_not_wait, timeout_s)
        return self._publication.status.ready

    def catch_up(self, token: str, timeout_s: float) -> bool:
        """Wait until the set includes ``token``, the ``Vexil-Token`` of a write; at most ``timeout_s``.

        False if it is not known to by then, and for what is no token. The set never goes back for it.
        """
        held = self._present().held
        if not is_sendable(token):
            return False
        if held.token is not None and order(token, held.token) is Order.COVERS:
            return True
        countdown = Countdown(timeout_s)
        board = self._board
        if not board.wait(lambda: self._core is not None or self._closed, countdown.left_s):
            return False
        core, background = self._core, self._background
        ticket = Ticket(token, timeout_s=countdown.left_s, finished=board.notify)
        if core is None or background is None or not background.call(lambda: core.catch_up(ticket)):
            return False
        board.wait(lambda: ticket.done or self._closed, countdown.left_s)
        return ticket.reached

    # -- being told

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call ``callback(keys)`` after each change, with the flags that may answer otherwise; the result ends that.

        Callbacks run one by one in a thread of their own. What happens during one is told together afterwards.
        """
        self._present()
        return self._notifier.on_change(callback)

    def on_status(self, callback: OnStatus) -> Callable[[], None]:
        """Call ``callback(status)`` whenever it differs in more than its moments; the result ends that."""
        self._present()
        return self._notifier.on_status(callback)

    # -- the end

    def close(self) -> None:
        """Stop following. Calls go on being answered from what there is. More than once does no harm."""
        if self._closed:
            return
        self._present()
        self._closed = True
        if self._background is not None:
            self._background.stop(join_s=CLOSE_S)
        status = self._publication.status
        since = status.stale_since
        if since is None and status.ready:
            since = self._publication.held.confirmed_at_s
        self._take(
            self._publication._replace(
                status=replace(status, connection="closed", stale_since=since, error=None)
            )
        )
        self._notifier.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the other side

    def fall_asleep(self) -> None:
        """In a forked child, from where forks are told: start afresh with the next call. Not for anybody else."""
        self._of_parent = self._background  # and not collected: its sockets are not ours to close
        self._background = self._core = None
        self._board = Board()
        self._notifier.renew()
        if not self._closed:
            self._asleep = True
            self._functions = _Waking(self._woken)

    def _present(self) -> Publication:
        if self._asleep:
            self._wake()
        return self._publication

    def _wake(self) -> None:
        self._board.exclusively(self._start)

    def _woken(self) -> Functions:
        self._wake()
        return self._functions

    def _begun(self, core: Core | None) -> None:
        """In the background: this is what runs there now."""
        self._core = core
        self._board.notify()

    def _start(self) -> None:
        if not self._asleep:
            return
        held = self._publication.held
        self._functions = self._functions_of(held)
        self._asleep = False
        background = Background(
            Running(
                plan=self._plan,
                cache_file=self._cache_file,
                bootstrap_file=self._bootstrap_file,
                held=held,
                publish=Weakly(self._take),
                began=Weakly(self._begun),
                broke=Weakly(self._fail),
            )
        )
        # Whoever forgets the client without closing it has its thread ended too.
        weakref.finalize(self, background.stop, join_s=0.0).atexit = False
        try:
            background.start()
        except RuntimeError as error:  # no thread to be had: answers go on from what there is
            self._fail(f"no background thread: {error}")
        self._background = background
        self._notifier.wake()

    def _functions_of(self, held: Held) -> Functions:
        if held.source == "none":
            return NotReady()
        functions = held.flag_set.functions
        return (
            functions if self._context is None else WithContext(functions, held.flag_set.flags, self._context)
        )

    def _take(self, publication: Publication) -> None:
        """In the background: this is what there is now."""
        before, self._publication = self._publication.held, publication
        held = publication.held
        if held.flag_set is not before.flag_set or held.source != before.source:
            self._functions = self._functions_of(held)
        self._board.notify()
        self._notifier.post(held.flag_set, publication.status)

    def _fail(self, error: str) -> None:
        publication = self._publication
        since = publication.held.confirmed_at_s if publication.status.ready else None
        status = replace(publication.status, connection="retrying", error=error, stale_since=since)
        self._take(publication._replace(status=status))

    def _need_not_wait(self) -> bool:
        publication = self._publication
        if self._closed or publication.status.connection == "offline":
            return True
        return publication.settled and publication.status.ready


class _Waking(dict[str, Function]):
    """The functions of a client that sleeps: the first question wakes it, and is answered as any other."""

    def __init__(self, wake: Callable[[], Functions]) -> None:
        super().__init__()
        self._wake = wake

    def __missing__(self, key: str) -> Function:
        return self._wake()[key]


def _urls(urls: str | Iterable[str]) -> tuple[str, ...]:
    """The URLs without a slash at their end, each once."""
    if not isinstance(urls, Iterable):
        raise ClientMisconfigured(f"neither a URL nor several: {urls!r}")
    given = [urls] if isinstance(urls, str) else list(urls)
    found = dict.fromkeys(_url(url) for url in given)
    if not 0 < len(found) <= NODES_MAX:
        raise ClientMisconfigured(f"a client needs 1 to {NODES_MAX} URLs, not {len(found)}")
    return tuple(found)


def _url(url: object) -> str:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        sound = (
            parts is not None
            and parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.query or parts.fragment or parts.username)
        )
    except ValueError:
        sound = False
    if not sound:
        raise ClientMisconfigured(f"not the URL of a node: {url!r}")
    return str(url).rstrip("/")


def _path(path: object) -> Path | None:
    if path is None or isinstance(path, str | Path):
        return None if path is None else Path(path)
    raise ClientMisconfigured(f"not the path of a file: {path!r}")


def _base(context: object) -> dict[str, Any] | None:
    if context is None or isinstance(context, Mapping):
        return dict(context) if context else None
    raise ClientMisconfigured("the context is not an object")


def _key(key: object, nodes: tuple[str, ...]) -> str:
    if not isinstance(key, str) or not (key.isascii() and key.isprintable()) or " " in key:
        raise ClientMisconfigured("an access key is ASCII text without spaces")
    if nodes and not key:
        raise ClientMisconfigured("there is no access key")
    return key
