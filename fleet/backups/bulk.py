"""A session for COPY alone, through libpq, in a thread: a message is a row, and the event loop never sees the bytes.

Measured on 100,000 rows with vectors of 1536: 1.2 s of our processor, where asyncpg takes 3.8 s.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Literal

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from fleet.backups.index import BINARY_HEADER, BINARY_TRAILER
from fleet.errors import ActionError, ConnectError

_EXTENSION = slice(len(BINARY_HEADER) - 4, len(BINARY_HEADER))
_ALIVE = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3", "tcp_user_timeout": "60000"}

_CONNECT_SECONDS = 10
_STALL_MILLISECONDS = 900_000
_LARGE_ANSWER = b"select repeat(' ', 1000000)"  # libpq's buffer grows to it and stays: fewer, larger reads

Format = Literal["binary", "text"]


class Bulk:
    """One connection, used by one thread at a time; all methods but `interrupt` block."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        """Connect; `parameters` are libpq's keywords.

        Raises:
            ConnectError: the server cannot be reached, or refuses us.
            ActionError: it ends the session at once, as a takeover does.
        """
        limit = int(parameters.get("connect_timeout", _CONNECT_SECONDS))
        try:
            # PQconnectdb would hold the interpreter's lock, and with it all other threads, until the server answers
            self._session = psycopg.Connection.connect(make_conninfo(**_ALIVE, **parameters), connect_timeout=limit)
        except psycopg.Error as error:
            raise ConnectError(f"cannot connect: {str(error).strip()}") from error
        self._connection = self._session.pgconn
        self._readable = select.poll()
        try:
            with _told():
                self._connection.exec_(_LARGE_ANSWER)
                self._readable.register(self._connection.socket, select.POLLIN)
        except ActionError:
            self._session.close()
            raise

    def execute(self, statements: str) -> None:
        """Raises ActionError with the server's words."""
        with _told():
            result = self._connection.exec_(statements.encode())
        if result.status not in {pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK}:
            raise ActionError(self._said())

    def copy_out(self, query: str, format_: Format) -> Iterator[memoryview]:
        """The rows of a query as COPY gives them, binary ones without header and trailer.

        Raises:
            ActionError: the server refuses or breaks off; rows that were given before count for nothing.
        """
        with _told():
            result = self._connection.exec_(f"copy ({query}) to stdout (format {format_})".encode())
            if result.status != pq.ExecStatus.COPY_OUT:
                raise ActionError(self._said())
            receive = self._receive
            size, row = receive()
            if format_ == "binary" and size > 0:
                row = row[len(BINARY_HEADER) + int.from_bytes(row[_EXTENSION], "big") :]  # it comes with the first row
            while size > 0:
                if format_ == "binary" and row == BINARY_TRAILER:
                    size, row = receive()
                    break
                yield row
                size, row = receive()
            self._end()

    def _receive(self) -> tuple[int, memoryview]:
        """The next message. libpq's own waiting would hold the interpreter's lock, and with it all other threads."""
        while True:
            size, row = self._connection.get_copy_data(1)
            if size:
                return size, row
            if not self._readable.poll(_STALL_MILLISECONDS):
                raise ActionError(f"the server has sent nothing for {_STALL_MILLISECONDS // 1000} s")
            self._connection.consume_input()

    def _end(self) -> None:
        failed = self._connection.status != pq.ConnStatus.OK
        while (result := self._connection.get_result()) is not None:
            failed = failed or result.status != pq.ExecStatus.COMMAND_OK
        if failed:
            raise ActionError(self._said())

    def interrupt(self) -> None:
        """Make whatever waits for the server fail; from any thread."""
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._connection.socket)) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._session.close()

    def _said(self) -> str:
        return self._connection.get_error_message().strip() or "the connection was closed"


@contextmanager
def _told() -> Iterator[None]:
    """psycopg raises where the connection is lost."""
    try:
        yield
    except psycopg.Error as error:
        raise ActionError(str(error).strip()) from error
