"""The schema of an environment: its revision, and how much differs from what it should be."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.views.samples import Question, Samples, flag
from fleet.environment import Environment

SCHEMA = Question(
    (
        "schema_revision_info",
        "schema_revisions_behind",
        "schema_revisions_ahead",
        "schema_revisions_unknown",
        "schema_objects",
        "schema_fingerprint_info",
        "schema_migrating",
        "schema_matches_reference",
        "schema_matches_scripts",
        "schema_differences",
        "schema_script_differences",
    )
)


@dataclass(frozen=True, slots=True)
class Count:
    """Objects of a kind. `change`: missing, extra (only here), changed, renamed; "" where they are only counted."""

    kind: str
    change: str
    count: float


@dataclass(frozen=True, slots=True)
class DatabaseSchema:
    """`matches_...` is None where it is unknown or not compared."""

    datname: str
    revisions: tuple[str, ...]
    behind: float | None
    ahead: float | None
    unknown: float | None
    migrating: bool | None
    matches_reference: bool | None
    matches_scripts: bool | None
    fingerprint: str | None
    objects: tuple[Count, ...]
    differences: tuple[Count, ...]
    script_differences: tuple[Count, ...]


@dataclass(frozen=True, slots=True)
class Schema:
    """`reference` is the environment to match, None where it need not; `is_reference`: the others must match this."""

    reference: str | None
    is_reference: bool
    databases: tuple[DatabaseSchema, ...]


def schema(samples: Samples, environment: Environment, reference: str | None) -> Schema:
    def counts(metric: str) -> dict[str, list[Count]]:
        found: dict[str, list[Count]] = {}
        for (datname, kind, change), count in sorted(samples.by(metric, "datname", "kind", "change").items()):
            found.setdefault(datname, []).append(Count(kind, change, count))
        return found

    objects, differences, by_scripts = map(
        counts, ("schema_objects", "schema_differences", "schema_script_differences")
    )
    revisions = samples.infos("schema_revision_info")
    fingerprints = {one.get("datname", ""): one.get("fingerprint") for one in samples.infos("schema_fingerprint_info")}

    def database(name: str) -> DatabaseSchema:
        def figure(metric: str) -> float | None:
            return samples.by(metric, "datname").get((name,))

        return DatabaseSchema(
            name,
            tuple(sorted(one.get("revision", "") for one in revisions if one.get("datname") == name)),
            figure("schema_revisions_behind"),
            figure("schema_revisions_ahead"),
            figure("schema_revisions_unknown"),
            flag(figure("schema_migrating")),
            flag(figure("schema_matches_reference")),
            flag(figure("schema_matches_scripts")),
            fingerprints.get(name),
            tuple(objects.get(name, ())),
            tuple(differences.get(name, ())),
            tuple(by_scripts.get(name, ())),
        )

    names = {*fingerprints, *(datname for (datname,) in samples.by("schema_migrating", "datname"))}
    must = environment.policy.same_schema and reference is not None and reference != environment.name
    return Schema(
        reference if must else None, reference == environment.name, tuple(database(name) for name in sorted(names))
    )
