"""The graph of an application's Alembic revisions, read from its scripts without running them."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import ConfigError

_NAMES = frozenset({"revision", "down_revision", "depends_on", "branch_labels"})


@dataclass(frozen=True, slots=True)
class Revision:
    """One script: `down` are the revisions that it follows (several: a merge), `depends_on` other ones it needs."""

    id: str
    down: tuple[str, ...]
    depends_on: tuple[str, ...] = ()
    branch_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionGraph:
    """Revisions by id; `parents` are those that must be applied before."""

    parents: Mapping[str, frozenset[str]]

    @property
    def heads(self) -> frozenset[str]:
        """Revisions that no other one follows or needs."""
        return frozenset(self.parents) - frozenset().union(*self.parents.values())

    def behind(self, current: Collection[str]) -> int | None:
        """How many revisions are still to be applied where `current` are the rows of alembic_version.

        None where one of them is unknown to the scripts: then nothing can be said.
        """
        if not set(current) <= self.parents.keys():
            return None
        applied: set[str] = set()
        waiting = list(current)
        while waiting:
            id_ = waiting.pop()
            if id_ not in applied:
                applied.add(id_)
                waiting.extend(self.parents[id_])
        return len(self.parents) - len(applied)


def script_files(folder: Path) -> list[Path]:
    """The revision files of an Alembic environment, or of its `versions` folder, in order of name.

    Raises:
        ConfigError: it is no directory.
    """
    folder = folder / "versions" if (folder / "versions").is_dir() else folder
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no directory", hint="migrations.scripts is the folder of the revision files")
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith(("__init__", ".#")))


def read_graph(folder: Path) -> RevisionGraph:
    """Read the scripts' graph.

    Raises:
        ConfigError: no directory, a script that cannot be parsed or computes its ids, or an unknown parent.
    """
    revisions = [revision for path in script_files(folder) if (revision := read_revision(path))]
    return build_graph(revisions)


def build_graph(revisions: Collection[Revision]) -> RevisionGraph:
    """Resolve parents. `depends_on` may be a branch label or the start of an id, as Alembic resolves it.

    Raises:
        ConfigError: an id that is there twice, or a parent that is not there.
    """
    ids = {revision.id for revision in revisions}
    if len(ids) != len(revisions):
        twice = sorted(id_ for id_ in ids if sum(revision.id == id_ for revision in revisions) > 1)
        raise ConfigError(f"revisions that are there twice: {', '.join(twice)}")
    labels = {label: revision.id for revision in revisions for label in revision.branch_labels}

    def resolve(name: str, child: str) -> str:
        if name in ids:
            return name
        if name in labels:
            return labels[name]
        starting = [id_ for id_ in ids if id_.startswith(name)]
        if len(starting) != 1:
            raise ConfigError(f"revision {child} follows {name}, which is not there")
        return starting[0]

    return RevisionGraph(
        {
            revision.id: frozenset(resolve(name, revision.id) for name in (*revision.down, *revision.depends_on))
            for revision in revisions
        }
    )


def read_revision(path: Path) -> Revision | None:
    """Read one script; None where it names no revision.

    Raises:
        ConfigError: it cannot be parsed, or an id in it is not written out.
    """
    try:
        found = dict(_assigned(ast.parse(path.read_bytes(), filename=str(path))))
    except (SyntaxError, ValueError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as an Alembic revision: {error}") from error
    if not isinstance(found.get("revision"), str):
        return None
    try:
        return Revision(
            str(found["revision"]),
            _names(found.get("down_revision")),
            _names(found.get("depends_on")),
            _names(found.get("branch_labels")),
        )
    except TypeError as error:
        raise ConfigError(f"{path} cannot be read as an Alembic revision: {error}") from error


def _assigned(module: ast.Module) -> Iterator[tuple[str, object]]:
    """The values of Alembic's variables, plain or annotated. Raises ValueError where one is not a literal."""
    for node in module.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id in _NAMES:
                yield target.id, ast.literal_eval(node.value)


def _names(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (tuple, list, set)) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise TypeError(f"{value!r} is neither a name nor several")
