"""Walk through validated models, whatever they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from daemon.config._document import Location

M = TypeVar("M", bound=BaseModel)


def walk(value: object, at: Location = ()) -> Iterator[tuple[Location, object]]:
    """Every leaf below `value`, and its location."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from walk(part, (*at, str(name)))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from walk(part, (*at, index))
    else:
        yield at, value


def anchored(model: M, base: Path) -> M:
    """A copy of `model` in which `~` is the home directory and every relative path begins at `base`."""
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    moved = {name: _anchored(value, base) for name, value in fields.items()}
    return model.model_copy(update={name: value for name, value in moved.items() if value != fields[name]})


def _anchored(value: Any, base: Path) -> Any:
    if isinstance(value, Path):
        return base / (value.expanduser() if value.parts[:1] == ("~",) else value)
    if isinstance(value, BaseModel):
        return anchored(value, base)
    if isinstance(value, dict):
        return {name: _anchored(part, base) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_anchored(part, base) for part in value)
    return value


def model_within(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model inside an annotation such as `dict[str, Model]` or `tuple[Model, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_within(part))), None)
