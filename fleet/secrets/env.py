"""`env:NAME`: an environment variable."""

from __future__ import annotations

import os

from fleet.errors import SecretError
from fleet.secrets._source import SecretSource


class EnvSource(SecretSource):
    name = "env"
    summary = "env:NAME, an environment variable of the daemon"

    async def resolve(self, reference: str) -> str:
        value = os.environ.get(reference)
        if not value:
            raise SecretError(
                f"the environment variable {reference} is not set",
                hint=f"export {reference}=... before the start",
            )
        return value
