"""The plugins that a configuration may name, and their options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import actions
import collectors
import daemon.notifiers
import fleet.disks
import fleet.secrets
import fleet.stores
from actions import Action
from collectors import Collector
from daemon.config._document import Location
from daemon.config._dsn import secret_faults
from daemon.config._models import anchored, walk
from daemon.config._problems import Problems, closest
from daemon.notifiers import Notifier
from fleet.disks import DiskSource
from fleet.plugins import load_plugins
from fleet.policy import Policy, Strict
from fleet.secrets import SecretSource, SecretText
from fleet.stores import Store

Options = TypeVar("Options", bound=Strict)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every plugin that was found, by seam and name."""

    actions: Mapping[str, type[Action[Any]]]
    collectors: Mapping[str, type[Collector]]
    stores: Mapping[str, type[Store]]
    notifiers: Mapping[str, type[Notifier]]
    disks: Mapping[str, type[DiskSource]]
    schemes: tuple[str, ...]

    @classmethod
    def load(cls) -> Catalogue:
        """Raises PluginError."""
        return cls(
            load_plugins(actions, Action),
            load_plugins(collectors, Collector),
            load_plugins(fleet.stores, Store),
            load_plugins(daemon.notifiers, Notifier),
            load_plugins(fleet.disks, DiskSource),
            tuple(load_plugins(fleet.secrets, SecretSource)),
        )


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the parts of one document, noting problems. Relative paths begin at `base`."""

    catalogue: Catalogue
    problems: Problems
    base: Path

    def options(
        self, kind: str, known: Mapping[str, type[Options]], name: str, data: object, at: Location
    ) -> Options | None:
        """The options of the plugin `name`, `known` being the options of every plugin of that kind."""
        if name not in known:
            self.problems.add(at, f"there is no such {kind}", closest(name, known))
            return None
        options = self.problems.validate(known[name], data, at)
        if options is None:
            return None
        self.check_secrets(options, at)
        return anchored(options, self.base)

    def check_secrets(self, model: Strict, at: Location) -> None:
        for inner, value in walk(model):
            if isinstance(value, SecretText):
                for message, hint in secret_faults(value, self.catalogue.schemes):
                    self.problems.add(at + inner, message, hint)

    def sections(self, data: object, at: Location) -> Iterator[tuple[str, object, Location]]:
        """The name, content and location of every entry of a mapping."""
        for name, content in self.problems.mapping(data, at).items():
            yield name, content, (*at, name)

    def collectors(self, raw: object) -> dict[str, Collector.Options]:
        """The options of every collector, configured or not."""
        known = {name: plugin.Options for name, plugin in self.catalogue.collectors.items()}
        written = {name: (content, at) for name, content, at in self.sections(raw, ("collectors",))}
        found = {}
        for name in [*known, *(name for name in written if name not in known)]:
            content, at = written.get(name, (None, ("collectors", name)))
            options = self.options("collector", known, name, content, at)
            if options is not None:
                found[name] = options
                for key in ("interval", "timeout"):
                    if getattr(options, key) < timedelta(seconds=1):
                        self.problems.add((*at, key), "must be at least 1s")
        return found

    def notifiers(self, raw: object) -> dict[str, Strict]:
        """The options of the configured notifiers; where nothing is configured, the console."""
        known = {name: plugin.Options for name, plugin in self.catalogue.notifiers.items()}
        read = {
            name: self.options("notifier", known, name, content, at)
            for name, content, at in self.sections({"console": None} if raw is None else raw, ("notifiers",))
        }
        return {name: options for name, options in read.items() if options is not None}

    def disks(self, raw: object, at: Location) -> dict[str, dict[str, object]]:
        """Checked options of disk sources as an Environment holds them."""
        known = {name: plugin.Options for name, plugin in self.catalogue.disks.items()}
        found = {}
        for name, content, inner in self.sections(raw, at):
            options = self.options("disk source", known, name, content, inner)
            if options is not None:
                found[name] = {field: getattr(options, field) for field in type(options).model_fields}
        return found

    def check_schedules(self, policy: Policy, written: object, at: Location) -> None:
        """Note schedules among those `written` here whose action does not exist or does not take the parameters."""
        for name, entry in written.items() if isinstance(written, dict) else ():
            schedule = policy.schedules.get(name)
            if schedule is None or not isinstance(entry, dict) or not entry.keys() & {"action", "parameters"}:
                continue  # no schedule at all, or what is wrong with it was told where that stands
            action = self.catalogue.actions.get(schedule.action)
            if action is None:
                self.problems.add(
                    (*at, name, "action"), "there is no such action", closest(schedule.action, self.catalogue.actions)
                )
            else:
                parameters = dict(schedule.parameters)
                self.problems.validate(action().parameters(), parameters, (*at, name, "parameters"))
