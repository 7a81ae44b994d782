"""Files and folders that the configuration names: there, readable, writable, of the right kind."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

from daemon.check._report import Notes
from daemon.config import Settings, walk
from daemon.parts import make_dialect
from fleet.environment import TLS_MODES, Environment, TlsSettings
from rules import RuleFileError, load_files


def check_files(settings: Settings, notes: Notes) -> None:
    """What concerns the machine as a whole. Blocks."""
    if settings.holds_plain_secrets() and settings.source.exists() and settings.source.stat().st_mode & stat.S_IROTH:
        notes.warning("configuration", "holds secrets and may be read by everybody", f"chmod 640 {settings.source}")
    _check_rules(settings, notes)
    _check_folder("data_dir", settings.data_dir, notes)
    for name, store in settings.stores.items():
        for at, value in walk(store.options):
            if isinstance(value, Path):
                _check_folder(".".join(("stores", name, *map(str, at))), value, notes)


def check_environment_files(environment: Environment, notes: Notes) -> None:
    """What an environment names: certificates, migration scripts. Blocks."""
    tls = environment.tls
    if environment.policy.tls.required and tls.mode in TLS_MODES[: TLS_MODES.index("require")]:
        notes.warning("tls", f"the policy requires TLS, but tls.mode {tls.mode} does without", "set tls.mode: require")
    if tls.key_file is not None and tls.cert_file is None:
        notes.error("tls", "key_file without cert_file")
    _check_certificates(tls, notes)
    scripts = environment.migrations.scripts
    if scripts is not None:
        found = sum(1 for _ in scripts.glob("*.py")) if scripts.is_dir() else 0
        if found:
            notes.ok("migrations", f"{found} revision files in {scripts}")
        else:
            notes.error("migrations", f"no revision files in {scripts}", "name the folder that holds the revisions")
    git, folder = environment.migrations.git, environment.migrations.directory
    if git is not None and not (git.path / ".git").exists() and not (git.path / "HEAD").exists():
        notes.error("migrations", f"{git.path} is no git clone", "name the clone's own folder in migrations.git.path")
    if folder is not None and not folder.is_dir():
        notes.error("migrations", f"{folder} is no folder", "migrations.directory is where alembic.ini is")


def _check_certificates(tls: TlsSettings, notes: Notes) -> None:
    files = ", ".join(str(path) for path in (tls.ca_file, tls.cert_file, tls.key_file) if path is not None)
    if not files:
        return
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file is not None:
            # without this, a key with a passphrase would ask for it on the terminal
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b"")
    except (OSError, ValueError) as error:
        notes.error("tls", f"the certificates cannot be used: {error}", f"are these PEM files that fit: {files}?")
    else:
        notes.ok("tls", f"can be read: {files}")


def _check_rules(settings: Settings, notes: Notes) -> None:
    found = settings.rules.paths()
    for pattern, paths in found.items():
        if not paths:
            notes.error("rules", f"no file matches {pattern}")
    try:
        groups = load_files((path for paths in found.values() for path in paths), dialect=make_dialect(settings))
    except RuleFileError as error:
        for problem in error.problems:
            notes.error("rules", str(problem))
        return
    if found:
        notes.ok("rules", f"{len(groups)} groups in your own files")
    elif not settings.rules.shipped:
        notes.warning("rules", "there are none: nothing will be noticed", "set rules.shipped: true, or name files")


def _check_folder(subject: str, folder: Path, notes: Notes) -> None:
    """A folder that is ours to write, or can be made."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        notes.error(subject, f"{existing} is no folder")
    elif not os.access(existing, os.W_OK | os.X_OK):
        notes.error(subject, f"{existing} cannot be written", "may the user of the daemon write there?")
    else:
        notes.ok(subject, f"{folder} can be written" if existing == folder else f"{folder} will be made")
