"""Whether a request is Slack's: judged by the vector that Slack publishes, which our signer did not make."""

from __future__ import annotations

import pytest

from daemon.slack._http import Signatures

# https://docs.slack.dev/authentication/verifying-requests-from-slack/
SECRET, AT = "8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_618
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
SIGNED = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"


def test_slack_s_own_vector_counts_once() -> None:
    signatures = Signatures(lambda: AT + 1.0)
    assert signatures.accept(SECRET, BODY, str(AT), SIGNED)
    assert not signatures.accept(SECRET, BODY, str(AT), SIGNED)


@pytest.mark.parametrize("age", [301, -301])
def test_what_is_old_or_of_tomorrow_does_not(age: int) -> None:
    assert not Signatures(lambda: float(AT + age)).accept(SECRET, BODY, str(AT), SIGNED)


@pytest.mark.parametrize(
    ("body", "at", "signature"),
    [
        (BODY + b"x", str(AT), SIGNED),
        (BODY, str(AT + 1), SIGNED),
        (BODY, "soon", SIGNED),
        (BODY, "1.5", SIGNED),
        (BODY, "٣", SIGNED),
        (BODY, None, SIGNED),
        (BODY, str(AT), None),
        (BODY, str(AT), ""),
        (BODY, str(AT), "v0=é"),
        (b"\xff", str(AT), SIGNED),
    ],
)
def test_anything_else_does_not(body: bytes, at: str | None, signature: str | None) -> None:
    assert not Signatures(lambda: float(AT)).accept(SECRET, body, at, signature)


def test_no_empty_secret_opens() -> None:
    assert not Signatures(lambda: float(AT)).accept("", BODY, str(AT), SIGNED)
