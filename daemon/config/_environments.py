"""The tiers and environments of a configuration: policies merged, disk sources checked, URLs looked into."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from daemon.config._document import Location
from daemon.config._dsn import dsn_faults, secret_faults
from daemon.config._models import anchored
from daemon.config._plugins import Reader
from daemon.config._problems import closest
from fleet.environment import NAME_PATTERN, Environment
from fleet.policy import TIER_DEFAULTS, Policy, Tier
from fleet.secrets import SecretText

Policies = Mapping[str, dict[str, Any]]  # by tier, as data to merge onto
# fields of an environment that are no keys of it
_TOLD_ELSEWHERE = {
    "name": "the name is the key above",
    "schema_reference": "name this environment in schema_reference at the top level",
}


def read_environments(raw: Mapping[str, Any], reader: Reader) -> dict[str, Environment]:
    """The environments that are right; what is wrong with the others is told."""
    policies = _read_tiers(raw.get("tiers"), reader)
    if raw.get("environments") in (None, {}):
        hint = "name one at least; custode check --example prints a whole configuration"
        reader.problems.add(("environments",), "is missing: there is nothing to guard", hint)
    read = {
        name: _read_environment(name, reader.problems.mapping(data, at), policies, reader)
        for name, data, at in reader.sections(raw.get("environments"), ("environments",))
    }
    return {name: environment for name, environment in read.items() if environment is not None}


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it: mappings key by key, anything else (a list, null) in whole."""
    merged = dict(base)
    for key, value in changes.items():
        under = merged.get(key)
        merged[key] = merge(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged


def _read_tiers(raw: object, reader: Reader) -> Policies:
    policies = {tier.value: policy.model_dump() for tier, policy in TIER_DEFAULTS.items()}
    for name, changes, at in reader.sections(raw, ("tiers",)):
        if name not in policies:
            reader.problems.add(at, "is no tier", closest(name, policies))
            continue
        written = reader.problems.mapping(changes, at)
        merged = merge(policies[name], written)
        policy = reader.problems.validate(Policy, merged, at)
        if policy is not None:
            policies[name] = merged
            _check_data(policy, name, reader, at)
            reader.check_schedules(policy, written.get("schedules"), (*at, "schedules"))
    return policies


def _read_environment(name: str, written: Mapping[str, Any], policies: Policies, reader: Reader) -> Environment | None:
    at: Location = ("environments", name)
    problems = reader.problems
    named = re.match(NAME_PATTERN, name) is not None
    if not named:
        problems.add(at, "is no name; a small letter, then small letters, digits, - and _")
    for key, hint in _TOLD_ELSEWHERE.items():
        if key in written:
            problems.add((*at, key), "is not known here", hint)
    base = policies.get(str(written.get("tier")), policies[Tier.DEVELOPMENT])
    changes = problems.mapping(written.get("policy"), (*at, "policy"))
    policy = problems.validate(Policy, merge(base, changes), (*at, "policy")) or Policy.model_validate(base)
    if "data" in changes:  # what the tier says was checked there
        _check_data(policy, written.get("tier"), reader, (*at, "policy"))
    reader.check_schedules(policy, changes.get("schedules"), (*at, "policy", "schedules"))
    _check_dsn(written.get("dsn"), policy, reader, (*at, "dsn"))
    values = {key: value for key, value in written.items() if value is not None}
    values |= {
        "name": name if named else "unnamed",
        "schema_reference": False,  # who it is can be told when all are known
        "policy": policy,
        "disks": reader.disks(written.get("disks"), (*at, "disks")),
    }
    environment = problems.validate(Environment, values, at, filled_in=_TOLD_ELSEWHERE)
    return anchored(environment, reader.base) if environment is not None else None


def _check_data(policy: Policy, tier: object, reader: Reader, at: Location) -> None:
    reader.check_secrets(policy, at)
    if tier == Tier.PRODUCTION and policy.data.columns:
        reader.problems.add(
            (*at, "data", "columns"),
            "nothing is ever copied into production",
            "decide in the tier or environment that the copy is for",
        )


def _check_dsn(written: object, policy: Policy, reader: Reader, at: Location) -> None:
    if not isinstance(written, str) or not written:
        return  # the model says so
    dsn = SecretText(written)
    faults = list(secret_faults(dsn, reader.catalogue.schemes))
    if not faults and not dsn.is_reference:
        faults = list(dsn_faults(dsn, literal_password=policy.access.literal_password))
    for message, hint in faults:
        reader.problems.add(at, message, hint)
