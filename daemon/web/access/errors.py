"""Why somebody does not get in."""

from __future__ import annotations

from fleet.errors import CustodeError

# why requests are refused, for those who count them
REFUSALS = ("token", "password", "credentials", "limited", "role", "host", "forged", "certificate", "connections")


class UnidentifiedError(CustodeError):
    """Whoever asks is nobody that we know."""

    code = "CU620"


class TooManyFailuresError(CustodeError):
    """Too many credentials that were not good have come from an address, or too many requests at all."""

    code = "CU622"

    def __init__(self, seconds: float, message: str = "too many attempts to sign in failed from this address") -> None:
        self.seconds = max(1, round(seconds))
        super().__init__(message, hint=f"wait {self.seconds} seconds")


class ForgedError(CustodeError):
    """A page of another site may have sent this through somebody's browser."""

    code = "CU623"


class MisdirectedError(CustodeError):
    """The name by which a request reaches us is not one of ours."""

    code = "CU624"
