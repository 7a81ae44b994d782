"""Append every message to a file, as one JSON object a line."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from pathlib import Path

from pydantic import Field

from daemon.lines import append_line
from daemon.notifiers._notifier import Message, Notifier, Permanent, Receipt, Retryable
from fleet.policy import Strict
from fleet.secrets import Secrets

_FOR_OTHERS = frozenset({"thread", "facts"})  # what a line tells in words already


class JsonLinesNotifier(Notifier):
    """The file is opened for each message, so whoever rotates it need not tell us."""

    name = "jsonl"
    summary = "JSON lines appended to a file"
    hears_muted = True

    class Options(Strict):
        path: Path = Field(description="the file; its folder is made when first needed")

    def __init__(self, options: Options, secrets: Secrets) -> None:
        del secrets
        self._path = options.path.expanduser()

    async def send(self, message: Message) -> Receipt:
        told = {name: value for name, value in asdict(message).items() if name not in _FOR_OTHERS}
        line = json.dumps(told, ensure_ascii=False) + "\n"
        try:
            await asyncio.to_thread(self._append, line.encode(errors="replace"))
        except (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise Permanent(f"{self._path} cannot be written: {error}") from error
        except OSError as error:  # a full disk may have room again
            raise Retryable(f"{self._path} cannot be written: {error}") from error
        return Receipt(str(self._path))

    async def probe(self) -> str:
        existing = next(path for path in (self._path, *self._path.parents) if path.exists())
        if not os.access(existing, os.W_OK):
            raise Permanent(f"{existing} cannot be written", hint="may the user of the daemon write there?")
        return f"{self._path} can be written"

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            append_line(handle, line)
        finally:
            os.close(handle)
