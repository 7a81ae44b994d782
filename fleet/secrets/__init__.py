"""Secrets are references (`scheme:reference`), resolved where they are used and never printed."""

from fleet.secrets._resolver import Secrets, SecretText
from fleet.secrets._source import SecretSource

__all__ = ["SecretSource", "SecretText", "Secrets"]
