"""Approvals as a table: whose answers count, when, and to what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions import Plan
from daemon.actions.approvals import (
    Approved,
    Expired,
    Pending,
    Rejected,
    Standing,
    digest,
    judge_answers,
    needed_for,
    objection,
)
from daemon.actions.views import Answer
from daemon.config import Limits
from fleet.policy import Consent

AUTO, ONE, TWO, FORBIDDEN = Consent
ALONE, NOT_ALONE = Limits(), Limits(self_approval=False)
EXPIRES = 100.0


def yes(person: str, at: float = 10, plan: str = "d1") -> Answer:
    return Answer(person, True, "", "cli", at, plan)


def no(person: str, at: float = 10, plan: str = "d1") -> Answer:
    return replace(yes(person, at, plan), approved=False, reason="not today")


def judge(consent: Consent, *answers: Answer, **fields: Any) -> Standing:
    values: dict[str, Any] = {"requester": None, "now": 50.0, "expires_at": EXPIRES, "limits": ALONE}
    return judge_answers(consent, "d1", answers, **(values | fields))


@pytest.mark.parametrize(
    ("consent", "answers", "expected"),
    [
        pytest.param(AUTO, (), Approved(()), id="auto"),
        pytest.param(AUTO, (no("anna"),), Approved(()), id="auto-asks-nobody"),
        pytest.param(ONE, (), Pending(1, ()), id="nobody-yet"),
        pytest.param(ONE, (yes("anna"),), Approved(("anna",)), id="one-of-one"),
        pytest.param(ONE, (no("anna"),), Rejected("anna", "not today"), id="rejected"),
        pytest.param(TWO, (yes("anna"),), Pending(2, ("anna",)), id="one-of-two"),
        pytest.param(TWO, (yes("anna"), yes("bob", 11)), Approved(("anna", "bob")), id="two-of-two"),
        pytest.param(TWO, (yes("anna"), yes("anna", 11)), Pending(2, ("anna",)), id="twice-the-same-person"),
        pytest.param(TWO, (yes("anna"), no("bob", 11)), Rejected("bob", "not today"), id="one-for-one-against"),
        pytest.param(TWO, (no("bob", 9), yes("anna"), yes("carl")), Rejected("bob", "not today"), id="against-first"),
        pytest.param(TWO, (yes("anna"), no("anna", 11)), Pending(2, ("anna",)), id="second-thoughts-come-too-late"),
        pytest.param(ONE, (yes("anna"), no("bob", 11)), Approved(("anna",)), id="rejected-when-decided"),
        pytest.param(ONE, (yes("anna", 11), no("bob", 10)), Rejected("bob", "not today"), id="by-time-not-by-place"),
        pytest.param(ONE, (yes("anna", plan="d0"),), Pending(1, ()), id="another-plan"),
        pytest.param(ONE, (no("anna", plan="d0"),), Pending(1, ()), id="another-plan-rejected"),
        pytest.param(TWO, (no("anna", 9, "d0"), yes("anna"), yes("bob")), Approved(("anna", "bob")), id="asked-again"),
        pytest.param(TWO, (yes("anna"), yes("bob", plan="d0")), Pending(2, ("anna",)), id="one-to-another-plan"),
        pytest.param(ONE, (yes("anna", EXPIRES),), Pending(1, ()), id="too-late"),
        pytest.param(ONE, (no("anna", EXPIRES),), Pending(1, ()), id="rejected-too-late"),
        pytest.param(FORBIDDEN, (yes("anna"), yes("bob")), Rejected("the policy", "it forbids this"), id="forbidden"),
    ],
)
def test_answers(consent: Consent, answers: Sequence[Answer], expected: Standing) -> None:
    assert judge(consent, *answers) == expected


@pytest.mark.parametrize(
    ("consent", "requester", "limits", "answers", "expected"),
    [
        pytest.param(ONE, "anna", ALONE, (yes("anna"),), Approved(("anna",)), id="one-may-be-the-requester"),
        pytest.param(ONE, "anna", NOT_ALONE, (yes("anna"),), Pending(1, ()), id="unless-not"),
        pytest.param(ONE, "anna", NOT_ALONE, (yes("anna"), yes("bob")), Approved(("bob",)), id="then-another"),
        pytest.param(TWO, "anna", ALONE, (yes("anna"),), Pending(2, ()), id="not-one-of-two"),
        pytest.param(TWO, "anna", ALONE, (yes("anna"), yes("bob")), Pending(2, ("bob",)), id="one-other-is-not-enough"),
        pytest.param(TWO, "anna", ALONE, (yes("anna"), yes("bob"), yes("carl")), Approved(("bob", "carl")), id="two"),
        pytest.param(TWO, "anna", ALONE, (no("anna"),), Rejected("anna", "not today"), id="may-reject"),
        pytest.param(ONE, "anna", NOT_ALONE, (no("anna"),), Rejected("anna", "not today"), id="may-always-reject"),
        pytest.param(TWO, None, ALONE, (yes("anna"), yes("bob")), Approved(("anna", "bob")), id="nobody-asked"),
    ],
)
def test_the_requester(
    consent: Consent, requester: str | None, limits: Limits, answers: Sequence[Answer], expected: Standing
) -> None:
    assert judge(consent, *answers, requester=requester, limits=limits) == expected
    for answer in answers:
        counted = isinstance(expected, Approved) and answer.person in expected.by
        if answer.approved and answer.person == requester:
            assert (objection(answer.person, consent, requester, limits) is None) is counted


@pytest.mark.parametrize(
    ("answers", "now", "expires_at", "expected"),
    [
        pytest.param((), 99.9, EXPIRES, Pending(2, ()), id="not-yet"),
        pytest.param((), EXPIRES, EXPIRES, Expired(), id="nobody"),
        pytest.param((yes("anna"),), EXPIRES, EXPIRES, Expired(), id="not-enough"),
        pytest.param((yes("anna"), yes("bob", EXPIRES)), EXPIRES, EXPIRES, Expired(), id="the-last-too-late"),
        pytest.param((yes("anna"), yes("bob")), 1e9, EXPIRES, Approved(("anna", "bob")), id="approved-stays-so"),
        pytest.param((no("anna"),), 1e9, EXPIRES, Rejected("anna", "not today"), id="rejected-stays-so"),
        pytest.param((yes("anna", 1e8),), 1e9, None, Pending(2, ("anna",)), id="no-end"),
    ],
)
def test_expiry(answers: Sequence[Answer], now: float, expires_at: float | None, expected: Standing) -> None:
    assert judge(TWO, *answers, now=now, expires_at=expires_at) == expected


ANSWERS = st.lists(
    st.builds(
        lambda make, person, at, plan: make(person, at, plan),
        st.sampled_from([yes, no]),
        st.sampled_from(["anna", "bob", "carl"]),
        st.floats(0, 120),
        st.sampled_from(["d1", "d1", "d0"]),
    ),
    max_size=4,
    unique_by=lambda answer: answer.at,
)
REQUESTERS = st.sampled_from([None, "anna"])
NEEDING = st.sampled_from([ONE, TWO])


@settings(max_examples=300, deadline=None)
@given(NEEDING, ANSWERS, REQUESTERS, st.sampled_from([ALONE, NOT_ALONE]))
def test_the_order_in_which_answers_are_read_does_not_matter(
    consent: Consent, answers: list[Answer], requester: str | None, limits: Limits
) -> None:
    fields = {"requester": requester, "limits": limits}
    assert len({judge(consent, *order, **fields) for order in permutations(answers)}) == 1


@settings(max_examples=300, deadline=None)
@given(NEEDING, ANSWERS, ANSWERS, REQUESTERS, st.sampled_from([ALONE, NOT_ALONE]))
def test_what_is_decided_stays_decided_and_is_the_will_of_enough_people(
    consent: Consent, answers: list[Answer], later: list[Answer], requester: str | None, limits: Limits
) -> None:
    found = judge(consent, *answers, requester=requester, limits=limits)
    after = max((answer.at for answer in answers), default=0.0) + 1
    more = [replace(answer, at=answer.at + after) for answer in later]
    again = judge(consent, *answers, *more, requester=requester, limits=limits)
    if isinstance(found, Approved | Rejected):
        assert again == found
    if isinstance(found, Approved):
        assert len(set(found.by)) == len(found.by) == needed_for(consent)
        assert requester not in found.by or (consent is ONE and limits.self_approval)
        for person in found.by:
            assert any(a.person == person and a.approved and a.digest == "d1" and a.at < EXPIRES for a in answers)


PLAN = Plan("drops x", ("drop",), {"bytes": 5}, ({"name": "x", "oid": 7},), ("DROP INDEX x",), "frees 5 B", 0.0)
BOUND = digest("qa", "drop_index", {"name": "x"}, PLAN)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(digest("production", "drop_index", {"name": "x"}, PLAN), id="environment"),
        pytest.param(digest("qa", "reindex", {"name": "x"}, PLAN), id="action"),
        pytest.param(digest("qa", "drop_index", {"name": "y"}, PLAN), id="parameters"),
        pytest.param(digest("qa", "drop_index", {}, PLAN), id="no-parameters"),
        pytest.param(digest("qa", "drop_index", {"name": "x"}, replace(PLAN, steps=("drop", "check"))), id="steps"),
        pytest.param(digest("qa", "drop_index", {"name": "x"}, replace(PLAN, commands=("DROP",))), id="commands"),
        pytest.param(digest("qa", "drop_index", {"name": "x"}, replace(PLAN, objects=({"name": "x"},))), id="objects"),
        pytest.param(digest("qa", "drop_index", {"name": "x"}, replace(PLAN, objects=())), id="no-objects"),
        pytest.param(digest("drop_index", "qa", {"name": "x"}, PLAN), id="the-other-way-round"),
    ],
)
def test_the_digest_binds_what_is_done(other: str) -> None:
    assert other != BOUND


def test_the_digest_leaves_out_what_may_change() -> None:
    plan = replace(PLAN, figures={"bytes": 6}, summary="drops the index x", effect="", disk_bytes=1.0)
    assert digest("qa", "drop_index", {"name": "x"}, plan) == BOUND


def test_the_digest_is_that_of_what_was_stored() -> None:
    again = replace(PLAN, objects=({"oid": 7, "name": "x"},), steps=("drop",))
    assert digest("qa", "drop_index", {"name": "x"}, again) == BOUND
    parameters = {"b": 1, "a": (2, "è")}
    stored = {"a": [2, "è"], "b": 1}
    assert digest("qa", "x", parameters, PLAN) == digest("qa", "x", stored, PLAN)
    # sha256 over canonical JSON: another version of Custode must come to the same
    assert digest("qa", "vacuum", {}, Plan("", ())) == (
        "0f199d3a1935108b70e144f868cfcf82b780b767e55497e3e07663d6d09bd5a2"
    )


@pytest.mark.parametrize(("value", "error"), [(float("nan"), ValueError), (float("inf"), ValueError), ({1}, TypeError)])
def test_what_is_no_json_has_no_digest(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        digest("qa", "vacuum", {"x": value}, PLAN)


def test_how_many_are_needed() -> None:
    assert [needed_for(consent) for consent in (AUTO, ONE, TWO)] == [0, 1, 2]
    with pytest.raises(ValueError, match="nobody can approve"):
        needed_for(FORBIDDEN)


def test_an_objection_says_why() -> None:
    assert objection("anna", TWO, "anna", ALONE) == "anna asked for this, and two other people must approve it"
    assert objection("anna", ONE, "anna", NOT_ALONE) == "anna asked for this, and another person must approve it"
    assert objection("anna", FORBIDDEN, None, ALONE) == "nobody can approve what the policy forbids"
    assert objection("bob", TWO, "anna", ALONE) is None
