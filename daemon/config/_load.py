"""From a file to Settings, or to everything that is wrong with it."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.config._actions import OperatorSettings
from daemon.config._backups import check_backups
from daemon.config._document import MAX_BYTES, Document, DocumentError, location_text, read_document
from daemon.config._dsn import dsn_faults, secret_faults
from daemon.config._environments import read_environments
from daemon.config._migrations import check_migrations, with_those_before
from daemon.config._models import anchored
from daemon.config._plugins import Catalogue, Reader
from daemon.config._problems import ConfigError, Problem, Problems, closest
from daemon.config._refreshes import with_refreshes
from daemon.config._settings import VALIDATED, Basics, RuleSettings, Settings, StateSettings, StoreSettings
from fleet.environment import Environment
from fleet.policy import Tier

_SECTIONS = ("tiers", "environments", "collectors", "stores", "notifiers")
_START = "custode demo runs without a configuration; custode check --example prints one to start from"


def load(path: Path) -> Settings:
    """Read the configuration file at `path`.

    Raises:
        ConfigError: it cannot be read or used; all its problems at once.
        PluginError: a plugin is broken.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(path, [Problem("", None, "there is no such file", _START)]) from None
    except OSError as error:
        raise ConfigError(path, [Problem("", None, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, [Problem("", line, "is not UTF-8 text")]) from None
    if len(content) > MAX_BYTES:
        raise ConfigError(path, [Problem("", None, f"is larger than {MAX_BYTES // 1024} KiB")])
    return parse(text, path)


def parse(text: str, source: Path) -> Settings:
    """Read a configuration from its text; relative paths in it begin at the folder of `source`.

    Raises:
        ConfigError: it cannot be used; all its problems at once.
        PluginError: a plugin is broken.
    """
    try:
        document = read_document(text)
    except DocumentError as error:
        problem = Problem(location_text(error.at), error.line, error.message, error.hint)
        raise ConfigError(source, [problem]) from None
    problems = Problems(document)
    base = source.absolute().parent
    reader = Reader(Catalogue.load(), problems, base)
    raw = _top_level(document, problems)
    basics = problems.validate(Basics, {key: raw[key] for key in Basics.model_fields if raw.get(key) is not None}, ())
    basics = anchored(basics or Basics(), base)
    reader.check_secrets(basics, ())
    _check_state(basics.state, reader)
    environments = read_environments(raw, reader)
    written = raw.get("environments")
    _check_operators(basics.operators, written, reader)
    stores = _stores(raw.get("stores"), basics.data_dir, reader)
    named = raw.get("stores")  # a broken one is told of where it stands
    check_backups(environments, named if isinstance(named, dict) else stores, reader)
    check_migrations(environments, reader)
    reference = _reference(basics.schema_reference, written, environments, problems)
    parts = {
        "source": source.absolute(),
        "environments": {
            name: environment.model_copy(update={"schema_reference": name == reference})
            for name, environment in with_refreshes(with_those_before(environments)).items()
        },
        "schema_reference": reference,
        "rules": _anchored_rules(basics.rules, base),
        "collectors": reader.collectors(raw.get("collectors")),
        "stores": stores,
        "notifiers": reader.notifiers(raw.get("notifiers")),
    }
    if problems.found:
        raise ConfigError(source, problems.found)
    kept = {name: getattr(basics, name) for name in Basics.model_fields}
    return Settings.model_validate(kept | parts, context=VALIDATED)


def _top_level(document: Document, problems: Problems) -> dict[str, Any]:
    for at, line in document.doubled:
        first = document.line(at)
        problems.found.append(Problem(location_text(at), line, f"is written twice, first in line {first}"))
    raw = problems.mapping(document.value, ())
    known = [*Basics.model_fields, *_SECTIONS]
    for key in raw:
        if key not in known:
            problems.add((key,), "is not known here", closest(key, sorted(known)))
    return raw


def _reference(
    name: str | None, written: object, environments: Mapping[str, Environment], problems: Problems
) -> str | None:
    """The environment whose schema the others must match: the one named, or the only production."""
    if name is None:
        production = [name for name, each in environments.items() if each.tier is Tier.PRODUCTION]
        return production[0] if len(production) == 1 else None
    if isinstance(written, dict) and name not in written:
        problems.add(("schema_reference",), "is no environment", closest(name, written))
    return name


def _check_state(state: StateSettings, reader: Reader) -> None:
    if state.url is None or state.url.is_reference or list(secret_faults(state.url, reader.catalogue.schemes)):
        return
    for message, hint in dsn_faults(state.url, literal_password=True):
        reader.problems.add(("state", "url"), message, hint)


def _check_operators(operators: Mapping[str, OperatorSettings], environments: object, reader: Reader) -> None:
    known = {"environments": environments, "actions": reader.catalogue.actions}
    for name, operator in operators.items():
        for key, names in known.items():
            for index, each in enumerate(getattr(operator, key) or ()):
                if isinstance(names, Mapping) and each not in names:
                    at = ("operators", name, key, index)
                    reader.problems.add(at, f"there is no such {key.removesuffix('s')}", closest(each, names))


def _anchored_rules(rules: RuleSettings, base: Path) -> RuleSettings:
    # the folder's own name may hold what glob understands
    anchor = Path(glob.escape(str(base)))
    files = tuple(str(anchor / (Path(f).expanduser() if f.startswith("~/") else Path(f))) for f in rules.files)
    return rules.model_copy(update={"files": files})


def _stores(raw: object, data_dir: Path, reader: Reader) -> dict[str, StoreSettings]:
    """The configured stores; where none is, `local`, a folder below the data directory."""
    known = {name: plugin.Options for name, plugin in reader.catalogue.stores.items()}
    default = {"local": {"type": "local", "path": str(data_dir / "backups")}}
    stores = {}
    for name, content, at in reader.sections(raw or default, ("stores",)):
        options = dict(reader.problems.mapping(content, at))
        kind, key = options.pop("type", None), options.pop("encryption_key", None)
        if not isinstance(kind, str):
            reader.problems.add((*at, "type"), "is missing", closest("", known))
        elif kind not in known:
            reader.problems.add((*at, "type"), "there is no such store", closest(kind, known))
        elif (read := reader.options("store", known, kind, options, at)) is not None:
            entry = {"type": kind, "options": read, "encryption_key": key}
            if (store := reader.problems.validate(StoreSettings, entry, at)) is not None:
                reader.check_secrets(store, at)
                stores[name] = store
    return stores
