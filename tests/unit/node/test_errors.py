"""The tree of what the HTTP interface may answer instead of doing what was asked."""

from __future__ import annotations

import json

import pytest

from vexil.node import errors
from vexil.node.errors import ApiError, FieldError

EVERY = [
    (errors.Malformed("x"), 400, "request.malformed"),
    (errors.TokenInvalid("x"), 400, "token.invalid"),
    (errors.KeyInvalid(), 401, "key.invalid"),
    (errors.TicketInvalid(), 401, "ticket.invalid"),
    (errors.KeyForbidden("x"), 403, "key.forbidden"),
    (errors.NotFound("segment", "s"), 404, "segment.not_found"),
    (errors.Exists("flag", "f"), 409, "flag.exists"),
    (errors.VariantInUse("on", ["prod/default"]), 409, "variant.in_use"),
    (errors.InUse("flag", "f", ["g"]), 409, "flag.in_use"),
    (errors.ConflictChanged("c"), 409, "conflict.changed"),
    (errors.TokenBehind(), 409, "token.behind"),
    (errors.MemberRefused("self", "x"), 409, "member.self"),
    (errors.Stale("flag", {"key": "f"}, "x"), 412, "flag.stale"),
    (errors.LimitExceeded("flags", "x"), 413, "limit.flags"),
    (errors.Invalid("flag", [FieldError("/type", "x")]), 422, "flag.invalid"),
    (errors.IdempotencyMismatch(), 422, "idempotency.mismatch"),
    (errors.PreconditionRequired("x"), 428, "precondition.required"),
    (errors.RateLimited("x"), 429, "rate.limited"),
    (errors.DurabilityUnavailable("x"), 503, "durability.unavailable"),
    (errors.NodeNotReady("x"), 503, "node.not_ready"),
    (errors.StreamsFull("x"), 503, "limit.streams"),
    (errors.WriteIndeterminate("1:1"), 504, "write.indeterminate"),
]


@pytest.mark.parametrize(("error", "status", "code"), EVERY, ids=str)
def test_every_error_has_its_status_and_code(error: ApiError, status: int, code: str) -> None:
    problem = error.to_problem()
    assert (error.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem.keys() >= {"type", "title", "status", "detail", "code", "definite"}
    assert json.loads(json.dumps(problem)) == problem
    assert code in str(error)


def test_every_class_of_the_tree_is_in_the_table() -> None:
    assert {type(error) for error, _, _ in EVERY} == set(ApiError.__subclasses__())


def test_only_an_unknown_outcome_is_not_definite() -> None:
    assert [error.code for error, _, _ in EVERY if not error.to_problem()["definite"]] == [
        "write.indeterminate"
    ]
    assert errors.WriteIndeterminate("00000000000000aa:7").to_problem()["change"] == "00000000000000aa:7"
    assert "change" not in errors.WriteIndeterminate(None).to_problem()


def test_the_present_object_goes_with_a_stale_condition() -> None:
    assert errors.Stale("flag", {"key": "f"}, "x").to_problem()["current"] == {"key": "f"}
    assert errors.Stale("flag", None, "x").to_problem()["current"] is None


def test_an_error_of_an_operation_names_it_and_keeps_its_own_places() -> None:
    invalid = errors.Invalid("flag", [FieldError("/type", "bad"), FieldError("", "worse")]).of_operation(3)
    assert invalid.to_problem()["errors"] == [
        {"path": "/operations/3/type", "detail": "bad"},
        {"path": "/operations/3", "detail": "worse"},
    ]
    missing = errors.NotFound("flag", "f").of_operation(0)
    assert missing.to_problem()["errors"] == [{"path": "/operations/0", "detail": "there is no flag 'f'"}]


def test_what_is_in_use_names_its_users_up_to_a_bound() -> None:
    assert errors.InUse("flag", "f", ["g", "h"]).to_problem()["used_by"] == ["g", "h"]
    many = errors.InUse("flag", "f", [f"g{i}" for i in range(5000)])
    assert len(many.to_problem()["used_by"]) == errors.USERS_LISTED_MAX  # type: ignore[arg-type]
    assert many.detail.endswith("and 4900 more")


def test_a_body_full_of_mistakes_gives_a_bounded_answer() -> None:
    many = [FieldError(f"/{i}", "x") for i in range(5000)]
    assert len(errors.Invalid("flag", many).to_problem()["errors"]) == errors.FIELD_ERRORS_MAX  # type: ignore[arg-type]
