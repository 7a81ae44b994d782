"""What is beside the environments: the state database, stores, notifiers, Alertmanagers, sources of secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from daemon import clock
from daemon.alertmanager import make_clients
from daemon.check._report import Notes
from daemon.config import Settings
from daemon.notifiers import Permanent, Retryable
from daemon.parts import make_notifiers, make_stores
from daemon.state import StateDatabase
from fleet.errors import CustodeError, SecretError, StoreError
from fleet.secrets import Secrets
from fleet.stores import Store

PROBE_KEY = "custode-doctor"  # of the object that is written to every store, read back and deleted
_PROBE = b"written by custode doctor; it may be deleted"
_SECONDS = 20.0


async def check_services(settings: Settings) -> Notes:
    """Reach each of them, all at the same time. Nobody is notified; a small object is written to every store."""
    secrets, notes = Secrets(clock.monotonic), Notes()
    async with asyncio.TaskGroup() as group:
        group.create_task(_check_state(settings, secrets, notes))
        for name, store in make_stores(settings, secrets).items():
            group.create_task(_check_store(name, store, notes))
        group.create_task(_check_notifiers(settings, secrets, notes))
        group.create_task(_check_alertmanagers(settings, secrets, notes))
        group.create_task(_check_heartbeat(settings, secrets, notes))
        group.create_task(_check_secrets(settings, secrets, notes))
    notes.findings.sort(key=lambda finding: finding.subject)
    return notes


async def _check_state(settings: Settings, secrets: Secrets, notes: Notes) -> None:
    database = StateDatabase(settings.state.url, settings.data_dir, secrets)
    try:
        async with asyncio.timeout(_SECONDS):
            revision = await database.revision()
    except (CustodeError, TimeoutError) as error:
        notes.error("state", str(error) or "does not answer", getattr(error, "hint", None))
        return
    finally:
        await database.close()
    if revision.newer:
        notes.error("state", "is newer than this Custode", "upgrade Custode, or restore the state from before")
    elif revision.current is None:
        notes.ok("state", "will be made when the daemon starts")
    else:
        later = "" if revision.up_to_date else "; it is migrated when the daemon starts"
        notes.ok("state", f"revision {revision.current}{later}")


async def _check_store(name: str, store: Store, notes: Notes) -> None:
    subject = f"stores.{name}"

    async def content() -> AsyncIterator[bytes]:
        yield _PROBE

    try:
        async with asyncio.timeout(_SECONDS):
            await store.put(PROBE_KEY, content())
            read = b"".join([part async for part in store.get(PROBE_KEY)])
            await store.delete(PROBE_KEY)
            free = await store.free_bytes()
    except (StoreError, SecretError, OSError, TimeoutError) as error:
        hint = getattr(error, "hint", None) or "may the daemon write, read and delete there?"
        notes.error(subject, str(error) or "does not answer", hint)
        return
    if read != _PROBE:
        notes.error(subject, "gives back something else than was written", "is its encryption_key the right one?")
    else:
        room = "" if free is None else f", {free / 2**30:.1f} GiB free"
        notes.ok(subject, f"written, read back and deleted{room}")


async def _check_notifiers(settings: Settings, secrets: Secrets, notes: Notes) -> None:
    for name, notifier in make_notifiers(settings, secrets).items():
        try:
            async with asyncio.timeout(_SECONDS):
                said = await notifier.probe()
        except (Retryable, Permanent, TimeoutError) as error:
            notes.error(f"notifiers.{name}", str(error) or "does not answer", getattr(error, "hint", None))
        else:
            notes.ok(f"notifiers.{name}", said)
        finally:
            await notifier.close()


async def _check_alertmanagers(settings: Settings, secrets: Secrets, notes: Notes) -> None:
    for client in make_clients(settings.alertmanager, secrets):
        try:
            alerts = await client.alerts()
        except (Retryable, Permanent) as error:
            notes.error("alertmanager", error.message, error.hint or "is it the address of one Alertmanager itself?")
        else:
            notes.ok("alertmanager", f"{client.url} answers, {len(alerts)} alerts")
        finally:
            await client.close()


async def _check_heartbeat(settings: Settings, secrets: Secrets, notes: Notes) -> None:
    """Whether its host is reached; to fetch it would say that all is well."""
    if settings.heartbeat.url is None:
        return
    try:
        parts = urlsplit(await secrets.fill(settings.heartbeat.url))
        port = parts.port or (443 if parts.scheme == "https" else 80)
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
        writer.close()
    except (SecretError, ValueError, OSError, TimeoutError) as error:
        said = error.message if isinstance(error, SecretError) else type(error).__name__  # the address is a secret
        notes.error("heartbeat", f"its host cannot be reached: {said}", "may this machine reach it?")
    else:
        notes.ok("heartbeat", "its host can be reached")


async def _check_secrets(settings: Settings, secrets: Secrets, notes: Notes) -> None:
    """Those of other sources than this machine; an environment tells its own."""
    for at, text in settings.secrets():
        if at[0] == "environments" or all(scheme in {"env", "file"} for scheme, _ in text.references):
            continue
        try:
            await secrets.fill(text)
        except SecretError as error:
            notes.error(".".join(map(str, at)), error.message, error.hint)
