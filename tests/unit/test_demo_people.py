"""Made-up people and their conversations: deterministic, plausible in time, and personal data where it may be only."""

from __future__ import annotations

from collections import Counter

from daemon.demo import people

NOW = 1_764_000_000.0
DAY = 86400.0


def test_people_are_the_same_every_time_and_have_an_address_each() -> None:
    made = people.users(200, NOW, 7)
    assert made == people.users(200, NOW, 7)
    assert made != people.users(200, NOW, 8)
    emails = [user[1] for user in made]
    assert len(set(emails)) == 200
    assert all(email.isascii() and email.endswith(".example") and " " not in email for email in emails)


def test_accounts_for_tests_hold_nothing_personal() -> None:
    accounts = people.test_accounts("qa", NOW)
    assert [account[1] for account in accounts[:2]] == [
        "testuser1@pratikoai-qa.example",
        "testuser2@pratikoai-qa.example",
    ]
    assert {account[3:6] for account in accounts} == {(None, None, None)}


def test_a_quarter_of_the_conversations_is_past_ninety_days_and_none_is_in_the_future() -> None:
    chats = people.chats(100, 400, NOW, 7)
    began = [at.timestamp() for *_, at in chats.conversations]
    assert began == sorted(began)
    assert began[0] >= NOW - people.HISTORY_DAYS * DAY
    assert max(at.timestamp() for *_, at in chats.messages) <= NOW
    past = sum(at < NOW - 90 * DAY for at in began)
    assert 0.2 < past / 400 < 0.3


def test_messages_alternate_between_the_two_roles_in_time() -> None:
    chats = people.chats(100, 50, NOW, 7)
    assert chats == people.chats(100, 50, NOW, 7)
    assert {user for _, user, *_ in chats.conversations} <= set(range(1, 101))
    assert Counter(role for _, role, *_ in chats.messages)["user"] * 2 == len(chats.messages)
    for number, *_ in chats.conversations:
        mine = [message for message in chats.messages if message[0] == number]
        assert [role for _, role, *_ in mine] == ["user", "assistant"] * (len(mine) // 2)
        assert [at for *_, at in mine] == sorted(at for *_, at in mine)
