"""What can be done where the version table and the schema do not agree: for people to read and decide on."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fleet.environment import Environment
from fleet.policy import Consent, Risk, Tier
from fleet.revisions import RevisionGraph
from fleet.revisions.graph import BASE
from fleet.schema.explain import Explanation, Finding, differences_to
from fleet.schema.history import History
from fleet.schema.objects import Catalogue, SchemaObject
from fleet.schema.repair import suggest

_TOLD = 6
# our own statements, made safe to run where some of it is there
_GUARDS = (
    (re.compile(r"^(CREATE (?:UNLOGGED )?TABLE|CREATE SEQUENCE|CREATE SCHEMA|CREATE EXTENSION)\b"), " IF NOT EXISTS"),
    (re.compile(r"^(CREATE MATERIALIZED VIEW|CREATE (?:UNIQUE )?INDEX(?: CONCURRENTLY)?)\b"), " IF NOT EXISTS"),
    (re.compile(r"^(CREATE STATISTICS)\b"), " IF NOT EXISTS"),
    (re.compile(r"^(ALTER TABLE (?:\"(?:[^\"]|\"\")+\"|[^\s\"])+ ADD COLUMN)\b"), " IF NOT EXISTS"),
    (re.compile(r"^(ALTER TYPE (?:\"(?:[^\"]|\"\")+\"|[^\s\"])+ ADD VALUE)\b"), " IF NOT EXISTS"),
    (re.compile(r"^(CREATE)(?= (?:VIEW|CONSTRAINT TRIGGER|TRIGGER)\b)"), " OR REPLACE"),
)
_UNGUARDED = re.compile(
    r"^(?:CREATE (?:TYPE|DOMAIN|POLICY|AGGREGATE|TEXT SEARCH)\b"
    r"|ALTER TABLE (?:\"(?:[^\"]|\"\")+\"|[^\s\"])+ ADD CONSTRAINT\b)"
)
_COLON = re.compile(r"(?<![:\w\\]):(?=\w)")
_ESCAPED = r"\\:"
_IS_THERE = "duplicate_object OR duplicate_table OR duplicate_function OR invalid_table_definition"


@dataclass(frozen=True, slots=True)
class Remedy:
    """`evidence` says why it would do, `commands` are for a shell, `sql` for the database, in order.

    `script` is an Alembic revision for the application to take over, where the repair can be one.
    """

    kind: Literal["stamp", "repair", "reset"]
    summary: str
    evidence: tuple[str, ...]
    commands: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()
    script: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A database of an environment, its schema, and what the scripts have to do with it."""

    environment: Environment
    database: str
    actual: Catalogue
    graph: RevisionGraph
    history: History


def remedies(found: Explanation, case: Case) -> list[Remedy]:
    """What would bring record and schema together; nothing where they are."""
    if found.sound:
        return []
    environment = case.environment
    offers: list[Remedy] = []
    for target in dict.fromkeys((found.reached, found.in_fact)):
        if (target == found.recorded and not found.unknown) or not target <= case.history.changes.keys():
            continue  # on record already, or not all of it could be looked at
        lacking, _ = differences_to(case.actual, case.history, target, ignore=environment.migrations.ignore)
        if not lacking:
            offers.append(_stamp(found, target, case))
    if found.lacking:
        offers.append(_repair(found, case))
    consent = environment.policy.consent.of(Risk.DESTRUCTIVE, "reset")
    allowed = environment.tier is not Tier.PRODUCTION and consent is not Consent.FORBIDDEN
    if allowed and case.history.broken is None:
        offers.append(_reset(case, consent))
    return offers


def listed(objects: Sequence[SchemaObject]) -> str:
    """The first few in words; what comes with a table or view of them is not said again."""
    whole = {one.name for one in objects if one.table == one.name}
    found = [one for one in objects if one.table not in whole or one.table == one.name]
    more = f" and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return ", ".join(f"{one.kind.replace('_', ' ')} {one.path}" for one in found[:_TOLD]) + more


def _stamp(found: Explanation, target: frozenset[str], case: Case) -> Remedy:
    evidence = [*_evidence(found.findings, target, found.recorded)]
    if found.unknown:
        evidence.append(f"{', '.join(found.unknown)} is on record, and no script is called so")
    evidence.append("rows are not looked at: what a revision does to them cannot be told from the schema")
    tips = sorted(case.graph.tips(target))
    commands = [_stamp_command(tips, case)]
    if target != case.graph.parents.keys():
        commands.append(f"custode migrate {case.environment.name} heads --plan")
    summary = f"put {', '.join(tips) or BASE} on record: the schema is at it in fact"
    return Remedy("stamp", summary, tuple(evidence), tuple(commands))


def _evidence(findings: Iterable[Finding], target: Collection[str], recorded: Collection[str]) -> Iterator[str]:
    for one in findings:
        inside = one.revision in target
        if inside == (one.revision in recorded):
            continue
        if inside:
            what = f"all that it does is there: {listed(one.present)}" if one.present else "it leaves no trace"
        else:
            what = f"nothing that it does is there: {listed(one.missing)}" if one.missing else "it leaves no trace"
        yield f"{one.revision}: {what}"


def _stamp_command(tips: Sequence[str], case: Case) -> str:
    if len(tips) > 1 and frozenset(tips) != case.graph.heads:
        return f"alembic stamp --purge {' '.join(tips)}"
    revision = BASE if not tips else tips[0] if len(tips) == 1 else "heads"
    return (
        f"custode act stamp {case.environment.name} -p revision={revision} -p {shlex.quote(f'datname={case.database}')}"
    )


def _repair(found: Explanation, case: Case) -> Remedy:
    sql = tuple(guarded(suggest(found.lacking, case.history.catalogue(found.reached))))
    evidence = tuple(
        f"{one.revision} lacks {listed([*one.missing, *one.changed])}"
        for one in found.findings
        if one.revision in found.reached and (one.missing or one.changed)
    )
    tips = sorted(case.graph.tips(found.reached))
    stamped = found.reached == found.recorded and not found.unknown
    commands = () if stamped else (_stamp_command(tips, case),)
    script = _script(sql, tips, evidence) if frozenset(tips) == case.graph.heads else None
    how = "by SQL or as one more revision" if script else "by SQL"
    return Remedy("repair", f"make what is missing up to {', '.join(tips)}, {how}", evidence, commands, sql, script)


def _reset(case: Case, consent: Consent) -> Remedy:
    environment = case.environment
    return Remedy(
        "reset",
        "make the database anew from the scripts: all its rows are lost",
        (
            "the scripts make it from nothing, as was tried just now",
            f"the policy of {environment.name} ({environment.tier}) allows it: {consent.value.replace('_', ' ')}",
        ),
        (f"custode reset {environment.name} --database {shlex.quote(case.database)} --dry-run",),
    )


def guarded(statements: Iterable[str]) -> Iterator[str]:
    """The statements of `suggest`, each doing nothing where what it makes is there already."""
    for statement in statements:
        if _UNGUARDED.match(statement):
            yield f"DO $repair$ BEGIN\n{statement};\nEXCEPTION WHEN {_IS_THERE} THEN NULL;\nEND $repair$"
            continue
        for pattern, words in _GUARDS:
            if match := pattern.match(statement):
                yield f"{match[1]}{words}{statement[match.end() :]}"
                break
        else:
            yield statement


def _script(sql: Sequence[str], tips: Sequence[str], evidence: Sequence[str]) -> str:
    """A revision after the heads: it does nothing in the environments that lack nothing."""
    digest = hashlib.sha256("\n".join(sql).encode()).hexdigest()[:12]
    down = repr(tips[0]) if len(tips) == 1 else repr(tuple(tips))
    lines = [
        '"""make what earlier revisions should have made',
        "",
        "A draft by custode schema explain: read it, and try it, before it is committed.",
        '"""',
        "",
        *(f"# {' '.join(line.split())}" for line in evidence),
        "",
        "from alembic import op",
        "",
        f'revision = "{digest}"',
        f"down_revision = {down}",
        "branch_labels = None",
        "depends_on = None",
        "",
        "",
        "def upgrade() -> None:",
    ]
    for statement in sql:
        # a colon in it is no parameter
        call = f"op.execute({_COLON.sub(_ESCAPED, statement)!r})"
        if re.match(r"^(?:CREATE|DROP) (?:UNIQUE )?INDEX CONCURRENTLY\b|^ALTER TYPE .* ADD VALUE\b", statement):
            lines += ["    with op.get_context().autocommit_block():", f"        {call}"]
        elif not statement.startswith("--"):
            lines.append(f"    {call}")
        else:
            lines.append(f"    {statement}")
    lines += ["", "", "def downgrade() -> None:", "    pass  # it belongs to the revisions before", ""]
    return "\n".join(lines)
