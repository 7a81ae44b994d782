"""The error tree. Every error that a person sees has a code to search for and, where one exists, a hint.

CustodeError                CU000
├── ConfigError             CU100  the configuration cannot be used
├── PluginError             CU110  a plugin file is broken or doubled
├── SecretError             CU120  a secret reference cannot be resolved
├── ConnectError            CU200  an environment cannot be reached or refuses us
├── ProcessError            CU300  a child process failed
├── StoreError              CU400  a backup store failed
├── ActionError             CU500  an action failed, or cannot be done
└── DaemonError             CU600  the daemon cannot start or go on
    └── StateError          CU610  the state database cannot be used
        └── StateAwayError  CU611  it cannot be reached now
"""

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
    code = "CU100"


class PluginError(CustodeError):
    code = "CU110"


class SecretError(CustodeError):
    code = "CU120"


class ConnectError(CustodeError):
    code = "CU200"


class ProcessError(CustodeError):
    code = "CU300"


class StoreError(CustodeError):
    code = "CU400"


class ActionError(CustodeError):
    code = "CU500"


class DaemonError(CustodeError):
    code = "CU600"


class StateError(DaemonError):
    code = "CU610"


class StateAwayError(StateError):
    code = "CU611"
