"""The flags and users of the comparison, said without any product's words, for each to be translated into.

The one idea: three shapes of flag, taking turns in one set, and answers that are known before anybody is asked. Only
the standard library, because peers live in an environment without Vexil.

Five rules: none of the first four holds for any user, the fifth for every other one, so that all five are looked at.
A split has no answer that is known beforehand, since every product hashes in its own way: it must come out as a half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SIZES: Final = (100, 10_000)
SHAPES: Final = ("plain", "rules", "split")
USERS_MAX: Final = 1_000
"""Users among whom a split is looked at."""
USERS_TIMED: Final = 20
DOMAIN: Final = "@example.com"
COUNTRIES: Final = ("DE", "FR", "IT", "ES", "PT")


@dataclass(frozen=True, slots=True)
class User:
    """Who is asked about."""

    key: str
    email: str
    country: str
    plan: str
    age: int

    @property
    def attributes(self) -> dict[str, str | int]:
        """What is known beside the key."""
        return {"email": self.email, "country": self.country, "plan": self.plan, "age": self.age}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the five rules of one flag compare with; whoever meets any of them gets true, the others false."""

    plan: str
    """Is the plan this one?"""
    countries: tuple[str, ...]
    """Is the country one of these?"""
    age_min: int
    """Is the age at least this?"""
    segment: str
    """Is the key this one?"""
    domain: str
    """Does the address end in this?"""


def flag_keys(shape: str, size: int) -> list[str]:
    """The keys of one shape in a set of ``size`` flags, as far apart as the set is large."""
    first = SHAPES.index(shape)
    return [f"team-{number % 37}.{shape}-{number}" for number in range(first, size, len(SHAPES))]


def rules_of(key: str) -> Rules:
    """The constants of one flag; every flag has its own."""
    number = int(key.rpartition("-")[2])
    return Rules(
        plan=f"plan-{number}",
        countries=("NO", "SE", f"X{number}"),
        age_min=100 + number % 50,
        segment=f"somebody-{number}",
        domain=DOMAIN,
    )


def users() -> list[User]:
    """Everybody, always the same; the first `USERS_TIMED` are the ones who are timed."""
    return [
        User(
            key=f"user-{number * 7919}",
            email=f"person{number}{DOMAIN if number % 2 else '@example.org'}",
            country=COUNTRIES[number % len(COUNTRIES)],
            plan="free",
            age=20 + number % 60,
        )
        for number in range(USERS_MAX)
    ]


def expected(shape: str, user: User) -> bool | None:
    """The right answer; None if only that it is a half is known."""
    if shape == "split":
        return None
    return shape == "plain" or user.email.endswith(DOMAIN)
