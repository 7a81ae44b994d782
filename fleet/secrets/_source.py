"""The seam for secret sources: one file a scheme."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar


class SecretSource(ABC):
    """Resolves `scheme:reference`; `name` is the scheme."""

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    async def resolve(self, reference: str) -> str:
        """Return the secret itself.

        Raises:
            SecretError: it does not exist or cannot be read. The message names the reference, never the secret.
        """
