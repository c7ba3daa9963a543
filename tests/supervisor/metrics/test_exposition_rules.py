"""The check of what is exposed finds what promtool would find."""

from __future__ import annotations

import pytest

from ..helpers.exposition import faults_of

GOOD = """\
# HELP a_seconds How long.
# TYPE a_seconds gauge
a_seconds{dn="x"} 1.0
a_seconds{dn="y"} 1.0
# HELP b_total How often.
# TYPE b_total counter
b_total 2.0
"""


def test_what_is_good_has_no_fault() -> None:
    assert list(faults_of(GOOD)) == []


@pytest.mark.parametrize(("old", "new", "fault"), [
    ("# HELP b_total How often.\n", "", "b_total has no help text"),
    ("# HELP b_total How often.\n", "# HELP b_total\n", "b_total has no help text"),
    ("# TYPE b_total counter\n", "", "b_total has no type"),
    ("# TYPE b_total counter\n", "# TYPE b_total counter\n" * 2, "b_total has two types"),
    ("b_total counter", "b_total gauge", "b_total is no counter and ends in _total"),
    ("b_total", "b", "b is a counter and does not end in _total"),
    ("a_seconds", "a_ms", "a_ms has the shortened unit ms"),
    ("a_seconds", "a_minutes", "a_minutes has the unit minutes, which is no base unit"),
    ("a_seconds", "a_gauge", "a_gauge has a type in its name"),
    ("a_seconds", "a_count", "a_count ends as a part of a histogram does"),
    ("a_seconds", "aSeconds", "aSeconds is not in snake case"),
    ("a_seconds", "a:seconds", "a:seconds is not in snake case"),
    ("dn=", "le=", "a_seconds has the label le of a histogram or summary"),
    ("dn=", "myName=", "a_seconds has the label myName, which is not in snake case"),
    ('"y"', '"x"', 'a_seconds{dn="x" is there twice'),
    ("b_total 2.0\n", "b_total 2.0\na_seconds 3.0\n", "a_seconds is in two places"),
    ("b_total 2.0", "b_total 2.0 1700000000", "b_total has a timestamp"),
    ('"y"} 1.0', '"y"} 1.0 1700000000', "a_seconds has a timestamp"),
])  # fmt: skip
def test_each_fault_is_found(old: str, new: str, fault: str) -> None:
    assert fault in list(faults_of(GOOD.replace(old, new)))
