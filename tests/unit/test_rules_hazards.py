"""The rule on pgvector's version knows the faults that the table of hazards knows, as far as they break an index."""

from __future__ import annotations

import re

import pytest

from fleet.vectors.hazards import hazards_of
from rules import AlertRule, load_shipped

(PATTERN,) = [
    re.findall(r'version=~"([^"]*)"', rule.query.text)[0].replace("\\\\", "\\")
    for group in load_shipped()
    for rule in group.rules
    if isinstance(rule, AlertRule) and rule.name == "VectorExtensionHazard"
]
# releases that are mended of what breaks an index now and then; what is left is rare or slow, and no reason to wake up
MENDED = (0, 8, 4)


@pytest.mark.parametrize(
    "version", ["0.5.1", "0.6.0", "0.7.4", "0.8.0", "0.8.1", "0.8.2", "0.8.3", "0.8.4", "0.8.6", "0.9.0", "1.0.0"]
)
def test_rule_and_table_agree(version: str) -> None:
    known = [one for one in hazards_of(180000, version) if one.product == "pgvector" and one.mended <= MENDED]
    assert (re.fullmatch(PATTERN, version) is not None) is bool(known)
