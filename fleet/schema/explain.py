"""Which revisions of the scripts a schema has in fact, whatever its version table says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.revisions import RevisionGraph
from fleet.schema.diff import Difference, compare
from fleet.schema.history import History, Key
from fleet.schema.objects import Catalogue, SchemaObject


class Verdict(StrEnum):
    """Of a revision. `silent`: it leaves no trace of its own; `unknown`: the scripts do not run as far as it."""

    PRESENT = "present"
    CHANGED = "changed"  # it was applied, and what it made is another one now
    PARTLY = "partly"
    MISSING = "missing"
    SILENT = "silent"
    UNKNOWN = "unknown"


_APPLIED = frozenset({Verdict.PRESENT, Verdict.CHANGED})


@dataclass(frozen=True, slots=True)
class Finding:
    """A revision with what it does to the schema, sorted by whether that is so in fact.

    `recorded` is whether the version table implies it. What tells nothing (a column that a later revision removes
    again, where there is none) is in none of the three.
    """

    revision: str
    recorded: bool
    verdict: Verdict
    present: tuple[SchemaObject, ...] = ()
    missing: tuple[SchemaObject, ...] = ()
    changed: tuple[SchemaObject, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """`recorded` are the revisions on record and those that they need, without `unknown` rows that no script has.

    `in_fact` are those of which nothing is missing, and nothing of what they need; `reached` all that are on record or
    have left a trace, with what they need. `lacking` is what the schema lacks to have all that was reached, `beyond`
    what no revision has to do with.
    """

    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]
    recorded: frozenset[str]
    in_fact: frozenset[str]
    reached: frozenset[str]
    lacking: tuple[Difference, ...]
    beyond: tuple[Difference, ...]

    @property
    def sound(self) -> bool:
        """Whether what is on record is what is there, as far as the scripts tell."""
        return not self.unknown and not self.lacking and self.reached == self.recorded


def explain(
    actual: Catalogue,
    history: History,
    graph: RevisionGraph,
    rows: Collection[str],
    *,
    ignore: Sequence[str] = (),
) -> Explanation:
    """Judge each revision of `history` by the schema that is there; `rows` are those of the version table."""
    recorded = graph.applied(rows)
    kept = actual.without(ignore)
    findings: dict[str, Finding] = {}
    for revision in graph.ordered(graph.parents.keys()):
        signs = [
            sign
            for sign in _signs(revision, kept, history, findings)
            if not any(sign.object.matches(pattern) for pattern in ignore)
        ]
        findings[revision] = _finding(revision, signs, told=revision in history.changes, recorded=revision in recorded)
    traced = {id_ for id_, one in findings.items() if one.verdict in _APPLIED | {Verdict.PARTLY}}
    reached = graph.applied(recorded | traced)
    lacking, beyond = differences_to(actual, history, reached, ignore=ignore)
    return Explanation(
        tuple(findings.values()),
        tuple(sorted(set(rows) - graph.parents.keys())),
        recorded,
        _in_fact(findings, graph, recorded),
        reached,
        lacking,
        beyond,
    )


def differences_to(
    actual: Catalogue, history: History, revisions: Collection[str], *, ignore: Sequence[str] = ()
) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
    """What the schema lacks to be at these revisions, and what is none of the scripts' business.

    What was there before the first revision, as extensions, is compared by nobody: they are of our server.
    """
    reference = history.catalogue(revisions)
    found = compare(actual, reference, ignore=ignore)
    touched = history.touched
    lacking = tuple(one for one in found if (one.is_ or one.was) is not None and _key(one) in touched)
    start = history.start
    return lacking, tuple(one for one in found if _key(one) not in touched and _key(one) not in start)


def _key(one: Difference) -> Key:
    found = one.is_ or one.was
    return ("", "", "") if found is None else found.key


@dataclass(frozen=True, slots=True)
class _Sign:
    """What one object says of a revision. `made`: the revision made it, be it another one now."""

    object: SchemaObject
    verdict: Verdict
    made: bool


def _signs(revision: str, actual: Catalogue, history: History, findings: Mapping[str, Finding]) -> Iterator[_Sign]:
    """Of each object that the revision touches and that says something; `findings` are of the revisions before."""
    there = {one.key: one for one in actual.objects}
    for key, after in history.changes.get(revision, {}).items():
        states, touched = history.states(key), history.touched[key]
        at = touched.index(revision) + 1
        one = after or states[at - 1]
        if one is None:
            continue
        found = there.get(key)
        same = [_same(found, actual.version, state, history.version) for state in states]
        # what a revision before it did is known to have happened: a column that is not there was removed again
        applied = [place for place, id_ in enumerate(touched[: at - 1], 1) if findings[id_].verdict in _APPLIED]
        was, is_ = any(same[max(applied, default=0) : at]), any(same[at:])
        if was and is_:
            continue
        if was or is_:
            yield _Sign(one, Verdict.PRESENT if is_ else Verdict.MISSING, made=is_)
        elif after is None:
            yield _Sign(one, Verdict.MISSING, made=False)  # it should be gone
        else:
            yield _Sign(one, Verdict.CHANGED, made=found is not None and states[at - 1] is None)


def _finding(revision: str, signs: Sequence[_Sign], *, told: bool, recorded: bool) -> Finding:
    present, missing, changed = (
        tuple(sign.object for sign in signs if sign.verdict is verdict)
        for verdict in (Verdict.PRESENT, Verdict.MISSING, Verdict.CHANGED)
    )
    traces = any(sign.made for sign in signs)
    if not told:
        verdict = Verdict.UNKNOWN
    elif missing:
        verdict = Verdict.PARTLY if traces else Verdict.MISSING
    elif traces:
        verdict = Verdict.CHANGED if changed else Verdict.PRESENT
    else:
        verdict = Verdict.SILENT
    return Finding(revision, recorded, verdict, present, missing, changed)


def _same(found: SchemaObject | None, version: int, state: SchemaObject | None, stated: int) -> bool:
    """Two servers may word one and the same in two ways, which `compare` knows."""
    if found is None or state is None:
        return found is state
    if found.definition == state.definition:
        return True
    return version != stated and not compare(Catalogue.of([found], version), Catalogue.of([state], stated))


def _in_fact(findings: Mapping[str, Finding], graph: RevisionGraph, recorded: frozenset[str]) -> frozenset[str]:
    """What leaves no trace is taken to be applied where that is on record, or something after it is there."""
    traced = graph.applied(id_ for id_, one in findings.items() if one.verdict in _APPLIED)
    found: set[str] = set()
    for id_, one in findings.items():  # in order: what it needs comes before
        silent = one.verdict is Verdict.SILENT and id_ in recorded | traced
        if (one.verdict in _APPLIED or silent) and graph.parents[id_] <= found:
            found.add(id_)
    return frozenset(found)
