"""Sessions with the state database, and what their errors mean."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
from asyncpg.exceptions import ClientConfigurationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fleet.dsn import plain_dsn
from fleet.errors import StateAwayError, StateError
from migrations.state import SCHEMA

CONNECT_SECONDS = 5.0
SETTINGS = {
    "search_path": SCHEMA,
    "application_name": "custode-state",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    # a daemon that is frozen within a transaction must not hold up the others
    "idle_in_transaction_session_timeout": "5s",
    "jit": "off",
}
# migrations wait for each other, and may take their time
MIGRATION_SETTINGS = SETTINGS | {
    "statement_timeout": "0",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "0",
}
REFUSED = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
# what may come of a broken connection, besides much else
DATABASE_ERRORS = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a session that the server has ended, until its socket is seen to be closed
    ConnectionError,
)
_BUSY_STATES = (
    "55P03",  # a lock in vain
    "57014",  # longer than SETTINGS allow
    "40P01",  # a deadlock
    "40001",  # not serializable
    "53100",  # its disk is full
    "53200",  # its memory
)
_AWAY_STATES = ("57P", "08", "25006", "53300")  # shut down, broken, a standby, full


async def open_session(dsn: str, settings: Mapping[str, str] = SETTINGS) -> asyncpg.Connection:
    """A new session; `dsn` is libpq's or SQLAlchemy's spelling.

    Raises:
        StateError: the URL can never work.
        StateAwayError: the server cannot be reached or refuses us; where it is the password, REFUSED is the cause.
    """
    try:
        return await asyncpg.connect(plain_dsn(dsn), timeout=CONNECT_SECONDS, server_settings=dict(settings))
    except TimeoutError as error:
        raise StateAwayError(f"the state database does not answer within {CONNECT_SECONDS:g} s") from error
    except (OSError, asyncpg.PostgresError) as error:  # before ValueError, which a bad certificate is as well
        raise StateAwayError(f"the state database cannot be reached: {error}") from error
    except (ValueError, ClientConfigurationError) as error:
        # its text may quote a part of the URL, and with it of the password
        raise StateError(
            f"the URL of the state database cannot be used ({type(error).__name__})",
            hint="is state.url postgresql://user:password@host/database, with what is special percent-encoded?",
        ) from None
    except asyncpg.InterfaceError as error:
        raise StateAwayError(f"the state database cannot be reached: {error}") from error


def says_busy(error: BaseException) -> bool:
    """Whether something was in the way that may pass, such as a daemon that is frozen: to be tried again."""
    told = error.orig if isinstance(error, DBAPIError) else error
    return getattr(told, "sqlstate", None) in _BUSY_STATES


def says_away(error: BaseException) -> bool:
    """Whether the server itself said that it cannot serve now, or said so a moment ago in this session."""
    told = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(told, asyncpg.InternalClientError):
        return True
    state = getattr(told, "sqlstate", None)
    return isinstance(state, str) and state.startswith(_AWAY_STATES)


def plain(error: BaseException) -> str:
    """What the driver said, without what SQLAlchemy adds: statements and their values, links."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(told if told is error else told.__cause__ or told)
