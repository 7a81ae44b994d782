"""Find plugins: a module without a leading underscore in a seam's package holds exactly one, named after its file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

from fleet.errors import PluginError

T = TypeVar("T")


def load_plugins(package: ModuleType, base: type[T]) -> dict[str, type[T]]:
    """Load every plugin of `package`: name to concrete subclass of `base`, in order of name.

    Raises:
        PluginError: a module cannot be imported, holds none or several, or its `name` is not the file's name.
    """
    found: dict[str, type[T]] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        if info.name.startswith("_") or info.ispkg:
            continue
        full_name = f"{package.__name__}.{info.name}"
        try:
            module = importlib.import_module(full_name)
        except ImportError as error:
            raise PluginError(f"{full_name} cannot be imported: {error}") from error
        found[info.name] = _only_plugin(module, info.name, base)
    return found


def _only_plugin(module: ModuleType, name: str, base: type[T]) -> type[T]:
    classes = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, base) and not inspect.isabstract(member) and member.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise PluginError(f"{module.__file__} must hold exactly one {base.__name__}, it holds {len(classes)}")
    if getattr(classes[0], "name", None) != name:
        raise PluginError(f"{module.__file__}: {classes[0].__name__}.name must be {name!r}, as the file is named")
    return classes[0]
