"""The flag of which benchmarks have many: eight cells, one of them a rule."""

from __future__ import annotations

RULE = {"if": {"ends_with": [{"var": "email"}, "@example.com"]}, "serve": "on"}
FIELDS = {
    "exists": {"epoch": 1, "type": "boolean"},
    "description": "Rolls out the new checkout",
    "variant/on": True,
    "variant/off": False,
    "env/prod/enabled": True,
    "env/prod/default": "off",
    "env/prod/off_variant": "off",
    "env/prod/rule/r1": RULE,
}
