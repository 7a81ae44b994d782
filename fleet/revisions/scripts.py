"""The scripts of an Alembic environment, out of a folder or out of git; parsed, never imported."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from fleet.environment import GitSettings, SchemaSettings
from fleet.errors import ConfigError, ProcessError
from fleet.process import running
from fleet.revisions.graph import Revision, RevisionGraph, build_graph

_NAMES = frozenset({"revision", "down_revision", "depends_on", "branch_labels"})
Scripts = Mapping[str, bytes]  # source by the path of the file


def script_files(folder: Path) -> list[Path]:
    """The revision files of an Alembic environment, or of its `versions` folder, in order of name.

    Raises:
        ConfigError: it is no directory.
    """
    folder = folder / "versions" if (folder / "versions").is_dir() else folder
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no directory", hint="migrations.scripts is the folder of the revision files")
    return sorted(path for path in folder.glob("*.py") if _is_script(path.name))


async def read_scripts(settings: SchemaSettings) -> Scripts:
    """The scripts that are configured, from git where that is; empty where nothing is configured.

    Raises:
        ConfigError: they cannot be read.
    """
    if settings.git is not None:
        return await _from_git(settings.git)
    return {} if settings.scripts is None else await asyncio.to_thread(_from_folder, settings.scripts)


def fingerprint(scripts: Scripts) -> str:
    """SHA-256 of the scripts by name: another one wherever anything in them changed."""
    told = hashlib.sha256()
    for path in sorted(scripts, key=lambda path: Path(path).name):
        told.update(f"{len(scripts[path])} {Path(path).name}\n".encode() + scripts[path])
    return told.hexdigest()


def read_graph(source: Path | Scripts) -> RevisionGraph:
    """Read the scripts' graph: of a folder, or of what `read_scripts` gave.

    Raises:
        ConfigError: no directory, a script that cannot be parsed or computes its ids, or an unknown parent.
    """
    scripts = _from_folder(source) if isinstance(source, Path) else source
    return build_graph([found for name, text in scripts.items() if (found := parse_revision(name, text))])


def read_revision(path: Path) -> Revision | None:
    """Read one script; None where it names no revision.

    Raises:
        ConfigError: it cannot be parsed, or an id in it is not written out.
    """
    try:
        return parse_revision(str(path), path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read as an Alembic revision: {error}") from error


def parse_revision(file: str, text: bytes) -> Revision | None:
    """The same of a source. Raises ConfigError."""
    try:
        module = ast.parse(text, filename=file)
        found = dict(_assigned(module))
        if not isinstance(found.get("revision"), str):
            return None
        return Revision(
            str(found["revision"]),
            _names(found.get("down_revision")),
            _names(found.get("depends_on")),
            _names(found.get("branch_labels")),
            title=((ast.get_docstring(module) or "").splitlines() or [""])[0],
            file=file,
            sha256=hashlib.sha256(text).hexdigest(),
        )
    except (SyntaxError, ValueError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read as an Alembic revision: {error}") from error


def _from_folder(folder: Path) -> Scripts:
    try:
        return {str(path): path.read_bytes() for path in script_files(folder)}
    except OSError as error:
        raise ConfigError(f"the scripts in {folder} cannot be read: {error}") from error


async def _from_git(git: GitSettings) -> Scripts:
    """One `git archive`: what is committed at the ref, whatever is checked out. Nothing of the repository is run."""
    command: list[str | Path] = [
        "git",
        "-C",
        git.path,
        "-c",
        "core.fsmonitor=false",
        "archive",
        "--format=tar",
        git.ref,
        "--",
        git.folder,
    ]
    where = f"{git.folder} at {git.ref} of {git.path}"
    try:
        async with running(command) as process:
            packed, said = await process.communicate()
    except ProcessError as error:
        raise ConfigError(f"{where} cannot be read: {error.message}", hint="is git installed?") from error
    if process.returncode != 0:
        raise ConfigError(f"{where} cannot be read: {said.decode(errors='replace').strip()[-300:]}")
    found: dict[str, bytes] = {}
    folder = git.folder.strip("/")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            path = Path(member.name)
            if str(path.parent) in (folder, f"{folder}/versions") and path.suffix == ".py" and _is_script(path.name):
                file = archive.extractfile(member)
                found[member.name] = file.read() if file is not None else b""
    if any(str(Path(name).parent) == f"{folder}/versions" for name in found):  # an environment: only its revisions
        return {name: text for name, text in found.items() if str(Path(name).parent) != folder}
    return found


def _is_script(name: str) -> bool:
    return not name.startswith(("__init__", ".#"))


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
