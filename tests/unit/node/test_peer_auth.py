"""Peer authentication: what gets in, and that everything altered, repeated, stale or foreign does not."""

from __future__ import annotations

import random

import pytest

from vexil.node.adapters.peer_auth import (
    AUTH_FAILED,
    NAME_LIMIT_BYTES,
    NONCE_BYTES,
    REPLAYED,
    SECRET_MIN_BYTES,
    SESSION_UNKNOWN,
    AuthRefused,
    ForgedAnswer,
    PeerKeys,
    PeerSession,
    ReplayWindow,
    SecretTooShort,
    SessionLimits,
    SessionOpening,
    SessionTable,
    VerifiedRequest,
)
from vexil.node.seams import PeerIdentity

SECRET = b"the secret of one cluster"
CALLER = PeerIdentity("eu-1", "eu")
PATH = "/peer/v1/push"
BODY = b"a page of changes"


class SeededEntropy:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def token_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


CLIENT_ENTROPY = SeededEntropy(1)


def server(*, secret: bytes = SECRET, seed: int = 2, limits: SessionLimits | None = None) -> SessionTable:
    return SessionTable(PeerKeys(secret), entropy=SeededEntropy(seed), limits=limits)


def open_session(table: SessionTable, caller: PeerIdentity = CALLER) -> PeerSession:
    opening = SessionOpening(PeerKeys(SECRET), caller, CLIENT_ENTROPY)
    return opening.finish(table.open(opening.header))


def verify(table: SessionTable, header: str, *, method: str = "POST", path: str = PATH) -> VerifiedRequest:
    return table.verify(header, method=method, path=path)


def refusal(table: SessionTable, header: str | None, *, method: str = "POST", path: str = PATH) -> str:
    with pytest.raises(AuthRefused) as caught:
        table.verify(header, method=method, path=path)
    return caught.value.code


def with_field(header: str, index: int, value: str) -> str:
    fields = header.split(" ")
    fields[index] = value
    return " ".join(fields)


def flipped(text: str) -> str:
    """The same hex digits, but one bit of the last one."""
    return text[:-1] + f"{int(text[-1], 16) ^ 1:x}"


# ------------------------------------------------------------------------------------------------------ what gets in


def test_a_signed_request_and_its_answer_are_accepted_and_name_the_caller() -> None:
    table = server()
    session = open_session(table)
    signed = session.sign("POST", PATH, BODY)
    request = verify(table, signed.header)
    assert request.caller == CALLER
    request.check_body(BODY)
    session.check_answer(signed, 200, b"taken", request.sign_answer(200, b"taken"))


def test_a_caller_may_have_a_name_that_needs_quoting() -> None:
    caller = PeerIdentity("Zürich 1 %/", "middle earth")
    table = server()
    session = open_session(table, caller)
    assert verify(table, session.sign("POST", PATH, BODY).header).caller == caller


# ------------------------------------------------------------------------------------------------------- the secret


def test_a_secret_below_the_minimum_is_not_taken() -> None:
    PeerKeys(b"x" * SECRET_MIN_BYTES)
    with pytest.raises(SecretTooShort, match="15 bytes"):
        PeerKeys(b"x" * (SECRET_MIN_BYTES - 1))


def test_a_caller_with_another_secret_opens_no_session() -> None:
    table = server(secret=b"the secret of another cluster")
    opening = SessionOpening(PeerKeys(SECRET), CALLER, CLIENT_ENTROPY)
    with pytest.raises(AuthRefused) as caught:
        table.open(opening.header)
    assert caught.value.code == AUTH_FAILED
    assert len(table) == 0


def test_a_server_that_does_not_know_the_secret_is_found_out() -> None:
    opening = SessionOpening(PeerKeys(SECRET), CALLER, CLIENT_ENTROPY)
    impostor = SessionOpening(PeerKeys(b"some other secret"), CALLER, CLIENT_ENTROPY)
    answer = server(secret=b"some other secret").open(impostor.header)
    with pytest.raises(ForgedAnswer):
        opening.finish(answer)


def test_an_opening_answer_for_another_nonce_or_of_another_length_is_refused() -> None:
    table = server()
    first = SessionOpening(PeerKeys(SECRET), CALLER, CLIENT_ENTROPY)
    second = SessionOpening(PeerKeys(SECRET), CALLER, CLIENT_ENTROPY)
    answer = table.open(first.header)
    for wrong in (answer[:-1], answer + b"\0", b"", bytes([answer[0] ^ 1]) + answer[1:]):
        with pytest.raises(ForgedAnswer):
            first.finish(wrong)
    with pytest.raises(ForgedAnswer):
        second.finish(answer)


@pytest.mark.parametrize("index", [1, 2])
def test_an_opening_under_an_altered_name_is_refused(index: int) -> None:
    table = server()
    opening = SessionOpening(PeerKeys(SECRET), CALLER, CLIENT_ENTROPY)
    with pytest.raises(AuthRefused):
        table.open(with_field(opening.header, index, "us"))


def test_names_do_not_run_into_each_other() -> None:
    table = server()
    opening = SessionOpening(PeerKeys(SECRET), PeerIdentity("ab", "c"), CLIENT_ENTROPY)
    with pytest.raises(AuthRefused):
        table.open(with_field(with_field(opening.header, 1, "a"), 2, "bc"))


@pytest.mark.parametrize("node", ["", "n" * (NAME_LIMIT_BYTES + 1)])
def test_a_node_without_a_fitting_name_cannot_call(node: str) -> None:
    with pytest.raises(ValueError, match="1 to 200 bytes"):
        SessionOpening(PeerKeys(SECRET), PeerIdentity(node, "eu"), CLIENT_ENTROPY)


# ------------------------------------------------------------------------------------------------------ alterations


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", PATH), ("POST", "/peer/v1/pull"), ("POST", PATH + "/"), ("POSTP", PATH[1:])]
)
def test_a_signature_holds_for_one_method_and_path(method: str, path: str) -> None:
    table = server()
    header = open_session(table).sign("POST", PATH, BODY).header
    assert refusal(table, header, method=method, path=path) == AUTH_FAILED
    verify(table, header)


@pytest.mark.parametrize("index", [2, 3])
def test_an_altered_body_hash_or_signature_is_refused(index: int) -> None:
    table = server()
    header = open_session(table).sign("POST", PATH, BODY).header
    assert refusal(table, with_field(header, index, flipped(header.split(" ")[index]))) == AUTH_FAILED
    verify(table, header)


def test_an_altered_counter_is_refused_and_moves_no_window() -> None:
    table = server()
    header = open_session(table).sign("POST", PATH, BODY).header
    assert refusal(table, with_field(header, 1, "9999999")) == AUTH_FAILED
    verify(table, header)


@pytest.mark.parametrize("body", [b"", BODY[:-1], BODY + b" ", BODY.upper()])
def test_a_body_that_is_not_the_signed_one_is_refused(body: bytes) -> None:
    table = server()
    request = verify(table, open_session(table).sign("POST", PATH, BODY).header)
    with pytest.raises(AuthRefused) as caught:
        request.check_body(body)
    assert caught.value.code == AUTH_FAILED


def test_a_session_cannot_be_used_under_another_callers_name() -> None:
    table = server()
    session = open_session(table)
    session._caller = PeerIdentity("us-1", "us")
    assert refusal(table, session.sign("POST", PATH, BODY).header) == AUTH_FAILED


def test_the_signature_of_one_session_is_worth_nothing_in_another() -> None:
    table = server()
    first, second = open_session(table), open_session(table)
    header = first.sign("POST", PATH, BODY).header
    other = second.sign("POST", PATH, BODY).header
    assert refusal(table, with_field(header, 0, other.split(" ")[0])) == AUTH_FAILED


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "a b c d",
        "a b c d e",
        f"{'0' * 32} 0 {'0' * 64} {'0' * 64}",
        f"{'0' * 32} -1 {'0' * 64} {'0' * 64}",
        f"{'0' * 32} ¹ {'0' * 64} {'0' * 64}",
        f"{'0' * 32} {2**63} {'0' * 64} {'0' * 64}",
        f"{'0' * 32} 1 {'0' * 63} {'0' * 64}",
        f"{'0' * 32} 1 {'0' * 64} {'g' * 64}",
        f"{'0' * 31}\t 1 {'0' * 64} {'0' * 64}",
        f"{'0' * 32} {'9' * 5000} {'0' * 64} {'0' * 64}",
    ],
)
def test_a_malformed_header_is_a_refusal_and_not_an_error(header: str | None) -> None:
    table = server()
    assert refusal(table, header) == AUTH_FAILED
    with pytest.raises(AuthRefused):
        table.open(header)


# ---------------------------------------------------------------------------------------------------------- replays


def test_a_request_is_accepted_once() -> None:
    table = server()
    header = open_session(table).sign("POST", PATH, BODY).header
    verify(table, header)
    assert refusal(table, header) == REPLAYED


def test_requests_may_overtake_each_other_within_the_window() -> None:
    table = server(limits=SessionLimits(replay_window_counters=64))
    session = open_session(table)
    headers = [session.sign("POST", PATH, BODY).header for _ in range(64)]
    random.Random(5).shuffle(headers)
    for header in headers:
        verify(table, header)
    for header in headers:
        assert refusal(table, header) == REPLAYED


def test_a_counter_that_fell_out_of_the_window_is_refused_though_it_was_never_used() -> None:
    table = server(limits=SessionLimits(replay_window_counters=64))
    session = open_session(table)
    headers = [session.sign("POST", PATH, BODY).header for _ in range(65)]
    verify(table, headers[64])
    assert refusal(table, headers[0]) == REPLAYED
    verify(table, headers[1])


def test_the_window_agrees_with_a_set_of_all_used_counters() -> None:
    chooser = random.Random(11)
    for size in (1, 2, 7, 64):
        window, used, highest = ReplayWindow(size), set[int](), 0
        for _ in range(3000):
            counter = max(
                1, highest + chooser.choice([-size - 1, -size, -size + 1, -1, 0, 1, 2, size, size + 1])
            )
            expected = counter not in used and counter > highest - size
            assert window.accept(counter) is expected
            used.add(counter)
            highest = max(highest, counter)


def test_a_counter_from_the_far_future_costs_no_memory_and_ends_the_older_ones() -> None:
    window = ReplayWindow(1024)
    assert window.accept(5)
    assert window.accept(2**63 - 1)
    assert window._bits.bit_length() <= 1024
    assert not window.accept(6)


def test_a_recorded_session_is_worth_nothing_after_the_server_was_restarted() -> None:
    header = open_session(server(seed=2)).sign("POST", PATH, BODY).header
    assert refusal(server(seed=3), header) == SESSION_UNKNOWN


# ---------------------------------------------------------------------------------------------------------- answers


def test_a_forged_or_altered_answer_is_found_out() -> None:
    table = server()
    session = open_session(table)
    signed, other = session.sign("POST", PATH, BODY), session.sign("POST", PATH, BODY)
    request = verify(table, signed.header)
    signature = request.sign_answer(200, b"taken")
    forgeries: list[tuple[int, bytes, str | None]] = [
        (200, b"take", signature),
        (200, b"taken!", signature),
        (409, b"taken", signature),
        (200, b"taken", flipped(signature)),
        (200, b"taken", signature[:-2]),
        (200, b"taken", ""),
        (200, b"taken", None),
        (200, b"taken", verify(table, other.header).sign_answer(200, b"taken")),
        (200, b"taken", signed.mac.hex()),
    ]
    for status, body, header in forgeries:
        with pytest.raises(ForgedAnswer):
            session.check_answer(signed, status, body, header)
    session.check_answer(signed, 200, b"taken", signature)


def test_every_purpose_has_a_key_of_its_own() -> None:
    keys = PeerKeys(SECRET)
    of_session = keys.session(b"c" * NONCE_BYTES, b"s" * NONCE_BYTES, CALLER)
    others = [
        keys.session(b"c" * NONCE_BYTES, b"t" * NONCE_BYTES, CALLER),
        keys.session(b"d" * NONCE_BYTES, b"s" * NONCE_BYTES, CALLER),
        keys.session(b"c" * NONCE_BYTES, b"s" * NONCE_BYTES, PeerIdentity("eu-2", "eu")),
        keys.session(b"c" * NONCE_BYTES, b"s" * NONCE_BYTES, PeerIdentity("eu-1", "us")),
    ]
    everything = [keys.open, keys.opened, *of_session, *(key for pair in others for key in pair)]
    assert len(set(everything)) == len(everything)
    assert SECRET not in everything


# ----------------------------------------------------------------------------------------------------------- bounds


def test_the_longest_unused_session_is_forgotten_first() -> None:
    table = server(limits=SessionLimits(sessions_max=3, openings_max=2))
    sessions = [open_session(table)]
    verify(table, sessions[0].sign("POST", PATH, BODY).header)
    for _ in range(3):
        sessions.append(open_session(table))
        verify(table, sessions[-1].sign("POST", PATH, BODY).header)
        if len(sessions) == 3:
            verify(table, sessions[0].sign("POST", PATH, BODY).header)
    assert len(table) == 3
    assert refusal(table, sessions[1].sign("POST", PATH, BODY).header) == SESSION_UNKNOWN
    for kept in (0, 2, 3):
        verify(table, sessions[kept].sign("POST", PATH, BODY).header)


def test_a_replayed_opening_pushes_out_no_session_in_use() -> None:
    limits = SessionLimits(sessions_max=4, openings_max=3)
    table = server(limits=limits)
    session = open_session(table)
    verify(table, session.sign("POST", PATH, BODY).header)
    recorded = SessionOpening(PeerKeys(SECRET), CALLER, CLIENT_ENTROPY)
    for _ in range(100):
        table.open(recorded.header)
    assert len(table) == limits.openings_max + 1
    verify(table, session.sign("POST", PATH, BODY).header)
