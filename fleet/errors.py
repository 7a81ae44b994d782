"""The error tree. Every error that a person sees has a code to search for and, where one exists, a hint."""

from __future__ import annotations

from typing import ClassVar


class CustodeError(Exception):
    """Base of all our errors: `message` says what happened, `hint` what to do about it."""

    code: ClassVar[str] = "CU000"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(CustodeError):
    """The configuration cannot be used."""

    code = "CU100"


class PluginError(CustodeError):
    """A plugin file is broken or doubled."""

    code = "CU110"


class SecretError(CustodeError):
    """A secret reference cannot be resolved."""

    code = "CU120"


class ConnectError(CustodeError):
    """An environment cannot be reached or refuses us."""

    code = "CU200"


class ProcessError(CustodeError):
    """A child process failed."""

    code = "CU300"


class StoreError(CustodeError):
    """A backup store failed."""

    code = "CU400"


class ActionError(CustodeError):
    """An action failed, or cannot be done."""

    code = "CU500"


class DaemonError(CustodeError):
    """The daemon cannot start or go on."""

    code = "CU600"


class StateError(DaemonError):
    """The state database cannot be used."""

    code = "CU610"


class StateAwayError(StateError):
    """The state database cannot be reached now."""

    code = "CU611"


class StateRefusedError(StateError):
    """The state database is there, and refuses a statement."""

    code = "CU612"
