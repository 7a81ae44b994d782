"""From the configuration to what it names: stores, notifiers, rule groups, actions."""

from __future__ import annotations

from typing import Any

import actions
import daemon.notifiers
import fleet.stores
from actions import Action
from daemon.config import Settings
from daemon.notifiers import Notifier
from fleet.errors import ConfigError
from fleet.plugins import load_plugins
from fleet.secrets import Secrets
from fleet.stores import Sealed, Store
from rules import Dialect, Group, RuleFileError, SampleStore, load_files, shipped


def make_stores(settings: Settings, secrets: Secrets) -> dict[str, Store]:
    """The configured stores, each wrapped where it is encrypted. Nothing is reached and no secret resolved yet."""
    kinds = load_plugins(fleet.stores, Store)
    stores = {}
    for name, configured in settings.stores.items():
        kind = kinds[configured.type]
        store = kind(kind.Options.model_validate(configured.options), secrets)
        key = configured.encryption_key
        stores[name] = store if key is None else Sealed(store, key, secrets)
    return stores


def make_notifiers(settings: Settings, secrets: Secrets) -> dict[str, Notifier]:
    """The configured notifiers. Nothing is reached and no secret resolved yet."""
    kinds = load_plugins(daemon.notifiers, Notifier)
    return {
        name: kinds[name](kinds[name].Options.model_validate(options), secrets)
        for name, options in settings.notifiers.items()
    }


def make_actions() -> dict[str, Action[Any]]:
    return {name: kind() for name, kind in load_plugins(actions, Action).items()}


def make_dialect(settings: Settings) -> Dialect:
    chosen = settings.rules
    return Dialect(
        compat=chosen.promql_compat,
        experimental=chosen.experimental_functions,
        subquery_step=chosen.interval.total_seconds(),
    )


def make_sample_store(settings: Settings) -> SampleStore:
    return SampleStore(floor=settings.rules.history.total_seconds(), limit=settings.rules.sample_limit)


def load_groups(settings: Settings) -> list[Group]:
    """The rules to evaluate: the shipped ones and the files that the configuration names.

    Raises:
        ConfigError: a file cannot be used; all problems of all files at once.
    """
    named = [path for paths in settings.rules.paths().values() for path in paths]
    files = [*(shipped() if settings.rules.shipped else ()), *named]
    try:
        return load_files(files, interval=settings.rules.interval.total_seconds(), dialect=make_dialect(settings))
    except RuleFileError as error:
        raise ConfigError("the rules cannot be used:\n  " + "\n  ".join(map(str, error.problems))) from error
