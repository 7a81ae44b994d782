"""Signed webhooks: the published vector of Standard Webhooks, and whatever is not signed so."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from daemon.webhooks import SignatureError, claimed, signed, verify

# https://github.com/standard-webhooks/standard-webhooks, in the tests of its libraries
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - published
AT = 1614265330
BODY = b'{"test": 2432232314}'
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def test_the_published_vector() -> None:
    assert signed(SECRET, HEADERS["webhook-id"], AT + 0.9, BODY) == HEADERS
    assert verify(SECRET, HEADERS, BODY, AT + 299) == HEADERS["webhook-id"]


def test_what_cannot_be_signed_is_seen_without_the_body() -> None:
    assert claimed(HEADERS, AT) == tuple(HEADERS.values())
    with pytest.raises(SignatureError, match="5 minutes"):
        claimed(HEADERS, AT + 301)
    with pytest.raises(SignatureError, match="are needed"):
        claimed({"webhook-id": "m1"}, AT)


def test_several_signatures_while_a_secret_changes() -> None:
    both = f"v1,{'A' * 43}= {HEADERS['webhook-signature']} v2,x"
    assert verify(SECRET, {**HEADERS, "webhook-signature": both}, BODY, AT)


@pytest.mark.parametrize("secret", ["plain", "whsec_no base64", "città"])
def test_a_secret_of_any_kind(secret: str) -> None:
    assert verify(secret, signed(secret, "m1", AT, BODY), BODY, AT) == "m1"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF="}, "is wrong"),
        ({"webhook-signature": "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, "is wrong"),
        ({"webhook-signature": "città \udcff"}, "is wrong"),
        ({"webhook-signature": ""}, "are needed"),
        ({"webhook-id": "msg_other"}, "is wrong"),
        ({"webhook-id": "é"}, "printable"),
        ({"webhook-id": "x" * 201}, "printable"),
        ({"webhook-timestamp": str(AT + 1)}, "is wrong"),
        ({"webhook-timestamp": "1614265330.0"}, "unix seconds"),
        ({"webhook-timestamp": "١٦١٤٢٦٥٣٣٠"}, "unix seconds"),
        ({"webhook-timestamp": "-1"}, "unix seconds"),
        ({"webhook-timestamp": "9" * 5000}, "unix seconds"),
    ],
)
def test_what_was_changed_is_refused(changed: Mapping[str, str], why: str) -> None:
    with pytest.raises(SignatureError, match=why):
        verify(SECRET, {**HEADERS, **changed}, BODY, AT)


def test_another_body_or_secret_or_time_is_refused() -> None:
    with pytest.raises(SignatureError, match="is wrong"):
        verify(SECRET, HEADERS, BODY + b" ", AT)
    with pytest.raises(SignatureError, match="is wrong"):
        verify("other", HEADERS, BODY, AT)
    for now in (AT - 301, AT + 301):
        with pytest.raises(SignatureError, match="5 minutes"):
            verify(SECRET, HEADERS, BODY, now)
    with pytest.raises(SignatureError, match="are needed"):
        verify(SECRET, {}, BODY, AT)
