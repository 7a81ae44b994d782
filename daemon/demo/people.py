"""Users and their conversations: made-up people in production, test accounts and no conversations elsewhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from daemon.demo.knowledge import phrase
from daemon.demo.vocabulary import CITIES, FIRST_NAMES, LAST_NAMES, QUESTIONS, SENTENCES, STREETS, TOPICS

# a third more than the guide's 90 days: the oldest quarter of the conversations is past its time
HISTORY_DAYS = 120
TEST_ACCOUNTS = 5
_DAY = 86400.0
_PLAIN = str.maketrans({"ò": "o", "'": None, " ": None})

User = tuple[int, str, str, str | None, str | None, str | None, datetime]
Conversation = tuple[int, int, str, datetime]
Message = tuple[int, str, str, datetime]


@dataclass(frozen=True, slots=True)
class Chats:
    """Records for COPY: conversations, and messages without their own id."""

    conversations: tuple[Conversation, ...]
    messages: tuple[Message, ...]


def test_accounts(environment: str, now: float) -> tuple[User, ...]:
    """Accounts without personal data: (id, email, hashed_password, full_name, phone, address, created_at)."""
    joined = datetime.fromtimestamp(now - 30 * _DAY, UTC)
    return tuple(
        (n, f"testuser{n}@pratikoai-{environment}.example", _hash(n), None, None, None, joined)
        for n in range(1, TEST_ACCOUNTS + 1)
    )


def users(count: int, now: float, seed: int) -> tuple[User, ...]:
    """Made-up people who joined over the last two years; names repeat, e-mail addresses do not."""
    rng = random.Random(f"{seed}/users")  # noqa: S311 - made-up people
    return tuple(_user(number, now, rng) for number in range(1, count + 1))


def chats(user_count: int, count: int, now: float, seed: int) -> Chats:
    """`count` conversations of 2 to 10 messages, spread evenly over the last HISTORY_DAYS days."""
    rng = random.Random(f"{seed}/chats")  # noqa: S311 - made-up conversations
    conversations: list[Conversation] = []
    messages: list[Message] = []
    for number in range(1, count + 1):
        topic = rng.randrange(len(TOPICS))
        began = now - (count - number + rng.random()) / count * HISTORY_DAYS * _DAY
        title = rng.choice(TOPICS[topic].terms).capitalize()
        conversations.append((number, rng.randint(1, user_count), title, datetime.fromtimestamp(began, UTC)))
        messages.extend(_messages(number, topic, began, now, rng))
    return Chats(tuple(conversations), tuple(messages))


def _user(number: int, now: float, rng: random.Random) -> User:
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    name, domain = (part.lower().translate(_PLAIN) for part in (first, last))
    email = f"{name}.{domain}{number}@studio{domain}.example"
    phone = f"+39 3{rng.randint(20, 99)} {rng.randint(1000000, 9999999)}"
    address = f"{rng.choice(STREETS)} {rng.randint(1, 150)}, {rng.choice(CITIES)}"
    joined = datetime.fromtimestamp(now - rng.uniform(HISTORY_DAYS, 730) * _DAY, UTC)
    return number, email, _hash(number), f"{first} {last}", phone, address, joined


def _messages(conversation: int, topic: int, began: float, now: float, rng: random.Random) -> Iterator[Message]:
    at = began
    for _ in range(rng.randint(1, 5)):
        for role, templates in (("user", QUESTIONS), ("assistant", SENTENCES)):
            yield conversation, role, phrase(rng.choice(templates), topic, rng), datetime.fromtimestamp(at, UTC)
            at = min(at + rng.uniform(5, 240), now)


def _hash(number: int) -> str:
    # looks like bcrypt and is the hash of nothing
    return f"$2b$12${random.Random(number).randbytes(27).hex()[:53]}"  # noqa: S311 - no secret
