"""Which schema an environment really has: Alembic revisions, objects by kind, and how it differs from what it should.

It should be that of the reference environment, and what the application's scripts make of an empty database. A
migration that is on its way is no difference: as long as one runs, nothing is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from collectors import Collector, Family, Rows, Session, Target, gauge, info
from collectors._schema_facts import SchemaFacts, counterparts, read_facts, reference_facts
from fleet.durations import Duration
from fleet.environment import SchemaSettings
from fleet.errors import CustodeError
from fleet.revisions import RevisionGraph, fingerprint, position, read_graph, read_scripts
from fleet.schema import Catalogue, Difference, compare, settled, tally
from fleet.schema.objects import UNHASHED
from fleet.schema.scripted import scripted_catalogue

REVISION = Family(
    ("datname", "revision"),
    (info("schema_revision_info", "A current Alembic revision of the database."),),
)
REVISIONS = Family(
    ("datname",),
    (
        gauge("schema_revisions", "How many current revisions the version table holds (several: unmerged branches)."),
        gauge("schema_revisions_behind", "How many revisions of the application's scripts are not applied."),
        gauge("schema_revisions_ahead", "How many revisions are applied here and not on the reference environment."),
        gauge("schema_revisions_unknown", "How many current revisions the application's scripts do not have."),
    ),
)
OBJECTS = Family(
    ("datname", "kind"),
    (gauge("schema_objects", "How many objects of this kind there are, without those of extensions."),),
)
FINGERPRINT_OF = Family(
    ("datname", "fingerprint"),
    (info("schema_fingerprint_info", "SHA-256 of the schema's definition; equal schemas have equal ones."),),
)
MATCHES = Family(
    ("datname",),
    (
        gauge("schema_migrating", "Whether a migration holds the version table just now (1) or not (0)."),
        gauge(
            "schema_matches_reference",
            "Whether the schema is the reference environment's (1) or not (0), extensions apart; absent if unknown.",
        ),
        gauge(
            "schema_matches_scripts",
            "Whether the schema is what the scripts make up to its revisions (1) or not (0); absent if unknown.",
        ),
    ),
)
DIFFERENCES = Family(
    ("datname", "kind", "change"),
    (gauge("schema_differences", "Objects that are not as the reference environment has them."),),
)
SCRIPT_DIFFERENCES = Family(
    ("datname", "kind", "change"),
    (gauge("schema_script_differences", "Objects that are not as the scripts make them, up to the revisions here."),),
)

_RETRY_SECONDS = 3600.0  # of scripts that did not run


@dataclass(frozen=True, slots=True)
class _Made:
    """What scripts made, or why they did not, and at what time (unix seconds)."""

    of: tuple[object, ...]
    at: float
    catalogue: Catalogue | None
    error: CustodeError | None = None


class SchemaCollector(Collector):
    name = "schema"
    summary = "Alembic revisions, objects by kind, a fingerprint, and differences to the reference and to the scripts"
    families = (REVISION, REVISIONS, OBJECTS, FINGERPRINT_OF, MATCHES, DIFFERENCES, SCRIPT_DIFFERENCES)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)
        timeout: Duration = timedelta(seconds=60)  # new scripts are run once, on a server of ours

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._scripts: str | None = None
        self._graph: RevisionGraph | None = None
        self._made: dict[str, _Made] = {}

    async def collect(self, target: Target) -> list[Rows]:
        async def read(session: Session) -> list[SchemaFacts]:
            return [await read_facts(target, session)]

        found = await target.each(read)
        reference = await reference_facts(target)
        graph = await self._read_graph(target)
        known = [(facts.database, facts.revisions) for facts in found if facts.revisions is not None]
        migrations = target.environment.migrations
        # where nothing is configured, Alembic may not be in use at all
        if migrations != SchemaSettings() and not known and not target.failures and not target.gaps:
            table = migrations.version_table
            target.gap(table, f"no database has the table {table}, where Alembic keeps its revision")
        pairs = counterparts([facts.database for facts in found], list(reference))
        theirs = {name: reference[other] for name, other in pairs.items()}
        to_reference = {
            facts.database: await _differences(target, facts, theirs.get(facts.database)) for facts in found
        }
        to_scripts = {facts.database: await self._script_differences(target, facts, graph) for facts in found}
        return [
            REVISION.rows([(database, id_, 1) for database, ids in known for id_ in ids]),
            REVISIONS.rows([_revisions(database, ids, graph, theirs.get(database)) for database, ids in known]),
            OBJECTS.rows(
                (facts.database, kind, count)
                for facts in found
                if facts.catalogue is not None
                for kind, count in facts.catalogue.count().items()
            ),
            FINGERPRINT_OF.rows(
                (facts.database, facts.catalogue.fingerprint, 1) for facts in found if facts.catalogue is not None
            ),
            MATCHES.rows(
                (name, int(facts.flight.migrating), _matches(to_reference[name]), _matches(to_scripts[name]))
                for facts in found
                for name in [facts.database]
            ),
            DIFFERENCES.rows(_counted(to_reference)),
            SCRIPT_DIFFERENCES.rows(_counted(to_scripts)),
        ]

    async def _read_graph(self, target: Target) -> RevisionGraph | None:
        settings = target.environment.migrations
        if not settings.has_scripts:
            return None
        try:
            scripts = await read_scripts(settings)
            if (told := fingerprint(scripts)) != self._scripts:
                self._scripts = None  # broken scripts must not leave the graph of the former ones
                self._graph = await asyncio.to_thread(read_graph, scripts)
                self._scripts = told
        except (CustodeError, OSError) as error:
            self._scripts = None
            target.failed("migrations.scripts", error)
            return None
        return self._graph

    async def _script_differences(
        self, target: Target, facts: SchemaFacts, graph: RevisionGraph | None
    ) -> list[Difference] | None:
        settings, actual, revisions = target.environment.migrations, facts.settled, facts.revisions
        if settings.directory is None or graph is None or actual is None or not revisions:
            return None
        if not set(revisions) <= graph.parents.keys():
            return None
        made = await self._make(target, facts.database, revisions, _extensions(actual))
        if made.error is not None:
            target.failed(f"{facts.database} by the scripts", made.error)
        if made.catalogue is None:
            return None
        # a server of ours has other extensions, in other versions
        ignore = (*settings.ignore, "extension:*")
        return await asyncio.to_thread(_compared, actual, made.catalogue, ignore, [facts])

    async def _make(self, target: Target, database: str, revisions: Sequence[str], extensions: Sequence[str]) -> _Made:
        """What the scripts make, kept until they change or the database is at other revisions."""
        key = (self._scripts, *revisions, None, *extensions)
        kept = self._made.get(database)
        if kept is not None and kept.of == key and (kept.error is None or target.now < kept.at + _RETRY_SECONDS):
            return kept
        try:
            catalogue = await scripted_catalogue(target.environment.migrations, revisions, extensions=extensions)
            made = _Made(key, target.now, catalogue)
        except CustodeError as error:
            made = _Made(key, target.now, None, error)
        self._made[database] = made
        return made


async def _differences(target: Target, facts: SchemaFacts, reference: SchemaFacts | None) -> list[Difference] | None:
    """None where nothing can be said."""
    if facts.settled is None or reference is None or reference.settled is None:
        return None
    ignore = target.environment.migrations.ignore
    return await asyncio.to_thread(_compared, facts.settled, reference.settled, ignore, [facts, reference])


def _compared(
    actual: Catalogue, wanted: Catalogue, ignore: Sequence[str], facts: Iterable[SchemaFacts]
) -> list[Difference]:
    return settled(compare(actual, wanted, ignore=ignore), *(each.flight for each in facts))


def _revisions(
    database: str, rows: Sequence[str], graph: RevisionGraph | None, reference: SchemaFacts | None
) -> tuple[str, int, int | None, int | None, int | None]:
    if graph is None:
        return (database, len(rows), None, None, None)
    found = position(graph, rows, reference.revisions if reference else None)
    behind, ahead = (None if ids is None else len(ids) for ids in (found.behind, found.ahead))
    return (database, len(rows), behind, ahead, len(found.unknown))


def _extensions(catalogue: Catalogue) -> list[str]:
    return [one.name for one in catalogue.objects if one.kind == "extension"]


def _matches(differences: Sequence[Difference] | None) -> int | None:
    if differences is None:
        return None
    return int(all(one.kind in UNHASHED for one in differences))


def _counted(differences: Mapping[str, Sequence[Difference] | None]) -> list[tuple[str, str, str, int]]:
    return [
        (database, kind, change, count)
        for database, found in differences.items()
        for (kind, change), count in tally(found or ()).items()
    ]
