"""`file:/path`: a file, as Docker, Kubernetes and systemd hand secrets over."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fleet.errors import SecretError
from fleet.secrets._source import SecretSource


class FileSource(SecretSource):
    name = "file"
    summary = "file:/run/secrets/NAME, a file; one newline at its end is left out"

    async def resolve(self, reference: str) -> str:
        try:
            text = await asyncio.to_thread(Path(reference).read_text, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SecretError(f"the secret file {reference} cannot be read: {error}") from error
        value = text.removesuffix("\n").removesuffix("\r")
        if not value:
            raise SecretError(f"the secret file {reference} is empty")
        return value
