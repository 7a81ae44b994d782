"""What a request to the API of actions may say: bodies and filters, read strictly."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json

from daemon.actions.request import Result
from daemon.actions.views import RunState
from fleet.errors import CustodeError

MAX_BODY = 64 * 1024
MOST = 1000  # entries in one answer
READ_SECONDS = 10.0  # how long a body may take to come
_TOLD = 5  # problems
_LAST = 253_402_300_799.0  # the end of the year 9999, in unix seconds


class BadInputError(CustodeError):
    """A request that cannot be understood."""

    code = "CU621"


class TooLargeError(BadInputError):
    """A body that is larger than any that makes sense."""


class SlowInputError(BadInputError):
    """A body that does not come."""


def _sound(value: Any) -> Any:
    """What the state database can hold: no NUL in a text, no number beyond 64 bits."""
    match value:
        case str() if "\0" in value:
            raise ValueError("a text must not hold the character NUL")
        case int() if not -(2**63) <= value < 2**63:
            raise ValueError("a number must fit into 64 bits")
        case float() if not math.isfinite(value):
            raise ValueError("a number must be finite")
        case list():
            for part in value:
                _sound(part)
        case dict():
            for name, part in value.items():
                _sound(name)
                _sound(part)
    return value


_Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_sound)]
_Text = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_sound)]
_Moment = Annotated[float, Field(ge=0, le=_LAST)]  # unix seconds
_Limit = Annotated[int, Field(ge=1, le=MOST)]


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Ask(Input):
    action: _Name
    environment: _Name
    parameters: Annotated[dict[str, Any], AfterValidator(_sound)] = Field(default_factory=dict)
    reason: _Text = ""
    key: _Name | None = None
    dry_run: bool = False


class Approve(Input):
    reason: _Text = ""
    digest: _Name | None = None


class Reject(Input):
    reason: Annotated[_Text, StringConstraints(min_length=1)]
    digest: _Name | None = None


class Why(Input):
    reason: _Text = ""


class Turn(Input):
    stopped: bool
    reason: _Text = ""


class Nothing(Input):
    """For what takes no body, or no parameters."""


class RunQuery(Input):
    environment: _Name | None = None
    action: _Name | None = None
    state: tuple[RunState, ...] = ()
    result: tuple[Result, ...] = ()
    before: _Moment | None = None
    limit: _Limit = 50


class LedgerQuery(Input):
    run: _Name | None = None
    environment: _Name | None = None
    action: _Name | None = None
    person: _Name | None = None
    entry: _Name | None = None
    since: _Moment | None = None
    before: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    limit: _Limit = 100


M = TypeVar("M", bound=Input)


async def read_body(request: web.Request, model: type[M]) -> M:
    """The body as a model. Raises BadInputError."""
    if request.query:
        # `?dry_run=true` that is not heeded would be an action that runs
        raise BadInputError(
            "parameters of a POST belong into its body", hint="remove what follows the ? in the address"
        )
    if request.content_type != "application/json":
        raise BadInputError("the body must be JSON", hint="send Content-Type: application/json")
    return parse(await read_raw(request), model)


def parse(raw: bytes, model: type[M]) -> M:
    """A JSON object as a model; nothing is one without keys. Raises BadInputError."""
    try:
        value = from_json(raw, allow_inf_nan=False) if raw.strip() else {}
    except ValueError as error:
        raise BadInputError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadInputError("the body must be a JSON object")
    return _validated(model, value, strict=True)


def read_query(request: web.Request, model: type[M]) -> M:
    """The parameters of the address as a model; those that are lists may be repeated. Raises BadInputError."""
    found: dict[str, Any] = {}
    for name in request.query:
        values = request.query.getall(name)
        field = model.model_fields.get(name)
        if field is not None and field.default == ():
            found[name] = tuple(values)
        elif len(values) > 1:
            raise BadInputError(f"{name[:80]!r} is said more than once")
        else:
            found[name] = values[0]
    return _validated(model, found, strict=False)


async def read_raw(request: web.Request, most: int = MAX_BODY) -> bytes:
    """The body, of so many bytes at most. Raises BadInputError."""
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for piece in request.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > most:
                    raise TooLargeError(f"the body is too large: more than {most} bytes")
    except TimeoutError:
        raise SlowInputError("the body did not come") from None
    except web.RequestPayloadError:
        raise BadInputError("the body cannot be read") from None
    return b"".join(pieces)


def _validated(model: type[M], value: Mapping[str, Any], *, strict: bool) -> M:
    try:
        return model.model_validate(value, strict=strict)
    except ValidationError as error:
        problems = [_told(problem["loc"], problem["type"], problem["msg"]) for problem in error.errors()[:_TOLD]]
        known = ", ".join(model.model_fields) or "none"
        raise BadInputError("; ".join(problems), hint=f"known here: {known}") from None


def _told(at: tuple[int | str, ...], kind: str, message: str) -> str:
    place = ".".join(map(str, at))[:80]
    return f"{place}: " + ("is not known here" if kind == "extra_forbidden" else message.removeprefix("Value error, "))
