"""What forms and filters of the page say, read as strictly as the API reads its bodies. Blanks were left open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from aiohttp import web
from pydantic import Field, StringConstraints, ValidationError

from daemon.web._actions_input import BadInputError, Input
from daemon.web.access.csrf import read_posted

M = TypeVar("M", bound=Input)
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Moment = Annotated[float, Field(ge=0, le=253_402_300_799.0)]  # unix seconds, to the end of the year 9999
SURE = "sure"  # the box that is ticked before danger
_TOKEN, _NOTE = "csrf", "note"  # of every form, and of every page after one


async def read_fields(request: web.Request) -> dict[str, str]:
    """The fields of a form, all of them texts, with the line ends that we use. Raises BadInputError."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise BadInputError("this is no form of ours", hint="go back, load the page again and press the button there")
    sent = await read_posted(request)
    return _texts((name, value) for name, value in sent.items() if isinstance(value, str) and name != _TOKEN)


async def read_form(request: web.Request, model: type[M]) -> M:
    """A form as a model. Raises BadInputError."""
    return validated(model, await read_fields(request))


def read_filters(request: web.Request, model: type[M]) -> M:
    """The filters that an address names, as a model. Raises BadInputError."""
    return validated(model, filters(request))


def filters(request: web.Request) -> dict[str, str]:
    """The filters of an address that say something. Raises BadInputError."""
    return _texts((name, value) for name, value in request.query.items() if name != _NOTE)


def validated(model: type[M], values: Mapping[str, Any]) -> M:
    """Raises BadInputError, which quotes nothing of what was sent."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(map(str, first["loc"]))[:80]
        unknown = first["type"] == "extra_forbidden"
        message = "is not known here" if unknown else first["msg"].removeprefix("Value error, ")
        raise BadInputError(f"{place}: {message}") from None


def be_sure(said: str | None) -> None:
    """Raises BadInputError where the box was not ticked."""
    if said != "yes":
        raise BadInputError("nothing was done: the box that says you are sure was not ticked", hint="tick it, and send")


def _texts(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise BadInputError(f"{name[:80]!r} is said more than once")
        if value:
            found[name] = value.replace("\r\n", "\n")
    return found
