"""The composition root: makes the parts, joins them, starts and stops them."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog
from aiohttp import web

import collectors
from collectors import Collector
from daemon import clock
from daemon.acting import Acting
from daemon.actions import ActionEvent
from daemon.alerting import Alerting, FileJournal, RuleThread, compared_metrics
from daemon.config import Settings, load
from daemon.data_dir import take_data_dir
from daemon.exposition import Page
from daemon.listening import Listening
from daemon.page import Live, Sources, Topic, page_routes
from daemon.parts import load_groups, make_dialect, make_sample_store, make_stores
from daemon.queries import Queries
from daemon.scrape import Batch, Scraper
from daemon.service import ServiceManager
from daemon.status import Board, LatestBoard
from daemon.tasks import owned, task_group
from daemon.telemetry import Telemetry
from daemon.telling import Telling
from daemon.tuning import tune_process
from daemon.views.environment import Environments
from daemon.views.schema_diff import SchemaDiffs
from daemon.web.access.access import make_access, open_access
from daemon.web.actions import action_routes
from daemon.web.environments import environment_routes
from daemon.web.identity import Identity
from daemon.web.openapi import openapi_routes
from daemon.web.prometheus import prometheus_routes
from daemon.web.server import WebServer
from daemon.web.status import status_routes
from daemon.world import DaemonWorld
from fleet.errors import CustodeError, DaemonError
from fleet.plugins import load_plugins
from fleet.secrets import Secrets
from fleet.stores import Store
from rules import Lasting, Transition

log = structlog.get_logger()

_SAME_SCHEMA = "custode_policy_same_schema"  # which of the others are compared with the reference


class Custode:
    """One daemon: `run` guards the fleet until it is told to stop, `look_once` reads and judges it once."""

    def __init__(self, settings: Settings, *, insecure: bool = False) -> None:
        self.settings = settings
        self._insecure, self._access = insecure, open_access()
        self.telemetry = Telemetry()
        self.page = Page(self.telemetry.render)
        self._secrets = Secrets(clock.monotonic)
        self._stores = make_stores(settings, self._secrets)
        self._telling: Telling | None = None
        self._live = Live(still_may=self._may_follow)
        self._board = LatestBoard(self.board, clock.monotonic)
        self._acting: Acting | None = None  # nobody acts as long as it is only looked
        plugins = load_plugins(collectors, Collector)
        self._rule_thread = RuleThread()
        self._sample_store = make_sample_store(settings)
        self._alerting = Alerting(
            publish=self._publish,
            journal=FileJournal(settings.data_dir / "alerts.jsonl"),
            now=clock.now,
            thread=self._rule_thread,
            store=self._sample_store,
            own=self.telemetry.samples,
            dialect=make_dialect(settings),
            external_url=self._external_url,
            mirror=self._note,
            metrics={
                name: frozenset(metric.name for family in kind.families for metric in family.metrics)
                for name, kind in plugins.items()
            },
        )
        self._queries = Queries(self._sample_store, self._rule_thread, now=clock.now, dialect=make_dialect(settings))
        self._address = ""
        self._manager = ServiceManager()
        self.telemetry.rules.attach(self._alerting, self._sample_store)
        self._scraper = Scraper(
            collectors=plugins,
            page=self.page,
            secrets=self._secrets,
            now=clock.now,
            on_batch=[self._on_batch],
        )
        self._world = DaemonWorld(
            settings,
            self._stores,
            secrets=self._secrets,
            scraper=self._scraper,
            alerting=self._alerting,
            emit=self._on_action,
            now=clock.now,
        )
        self._listening = Listening(self._secrets, plugins.keys(), self._world.reread)
        self._reloading, self._holding = asyncio.Lock(), asyncio.Lock()
        self._compared: frozenset[str] = frozenset()
        self._ready = False

    async def run(self, announce: Callable[[str], None]) -> None:
        """Guard the fleet until SIGINT or SIGTERM; `announce` is told the address once it is served.

        Raises:
            DaemonError: the data directory or the address cannot be used.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with task_group() as group:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop.set)
            loop.add_signal_handler(signal.SIGHUP, lambda: group.create_task(self._reload_and_log()))
            async with AsyncExitStack() as parts:
                announce(await self._start(group, parts))
                self._manager.ready(f"serving {self._address}")
                await stop.wait()
                log.info("stopping")
                self._manager.stopping()

    async def look_once(self) -> tuple[Board, bytes]:
        """Read every environment once and judge it; returns the status table and the metrics as text.

        Nothing is written, acted on or told. What would break a promise if it lasted counts as broken.
        """
        async with task_group() as group:
            self._scraper.start(group)
            try:
                await self._apply(self.settings)
                await self._scraper.settle()
                await self._alerting.settle()
                await self._alerting.tick()
                return await self.board(patient=False), self.page.render(openmetrics=False, gzip=False)
            finally:
                await self._scraper.stop()
                self._rule_thread.close()

    async def board(self, *, patient: bool = True) -> Board:
        """The status table. Not `patient`, what would break a promise if it lasted counts as broken."""
        ours = self._environments()
        tiers = {name: each.tier.value for name, each in self.settings.environments.items() if name in ours}
        return await self._alerting.board(tiers, patient=patient)

    async def reload(self) -> None:
        """Read the configuration again: all of it is taken over, or an error raised and nothing changed.

        Raises:
            CustodeError: what is wrong with the new configuration.
        """
        async with self._reloading:
            try:
                settings = await asyncio.to_thread(load, self.settings.source)
                _refuse_what_needs_a_restart(self.settings, settings)
                await self._apply(settings)
            except CustodeError as error:
                self.telemetry.note_reload(clock.now(), str(error))
                raise
            self.telemetry.note_reload(clock.now())

    async def _apply(self, settings: Settings) -> None:
        groups, stores = load_groups(settings), make_stores(settings, self._secrets)
        access = self._access.policy if self._acting is None else await self._access.read(settings)
        await self._watch(settings, stores)
        for gone in self.settings.environments.keys() - settings.environments.keys():
            await self._alerting.forget(gone)
        intervals = {name: options.interval.total_seconds() for name, options in settings.collectors.items()}
        await self._alerting.reload(groups, intervals)
        self._compared = compared_metrics(groups)
        self._world.apply(settings, stores)
        self._stores, self.settings = stores, settings
        if self._acting is not None:
            await self._acting.apply(settings)
        self._access.take(access)

    async def _watch(self, settings: Settings, stores: Mapping[str, Store]) -> None:
        """Scrape what is configured and ours."""
        ours = self._environments(settings)
        environments = {name: each for name, each in settings.environments.items() if name in ours}
        async with self._holding:
            reference = settings.environments.get(settings.schema_reference or "")
            await self._scraper.apply(environments, settings.collectors, stores, reference=reference)
            await self._listening.apply(environments)

    def _environments(self, settings: Settings | None = None) -> Collection[str]:
        """Those that are ours to look after."""
        configured = (settings or self.settings).environments
        return configured if self._acting is None else self._acting.environments & configured.keys()

    async def _hold(self, _environments: Collection[str]) -> None:
        await self._watch(self.settings, self._stores)

    async def _may_follow(self, request: web.Request) -> bool:
        return await self._access.may_follow(request)

    def _not_ready(self) -> str | None:
        """A daemon that has nothing to look after, because others do, is ready to."""
        idle = self._acting is not None and self._acting.idle
        return None if idle else self._scraper.not_ready()

    def _compared_with(self, environment: str) -> Collection[str]:
        known = self.settings.environments.get(environment)
        return self._compared if known is not None and known.schema_reference else (_SAME_SCHEMA,)

    async def _start(self, group: asyncio.TaskGroup, parts: AsyncExitStack) -> str:
        """Start everything in the order of need; `parts` stops it in the reverse order."""
        parts.callback(self._rule_thread.close)
        parts.callback(await asyncio.to_thread(take_data_dir, self.settings.data_dir))
        self._acting = acting = self._make_acting()
        self._access = await make_access(
            self.settings, acting.operators, self._secrets, insecure=self._insecure, count=self.telemetry.count_refusal
        )
        parts.push_async_callback(acting.state.close)
        await acting.state.open()

        def own(name: str, work: Coroutine[Any, Any, None]) -> None:
            owned(group, parts, name, work)

        own("state database", acting.state.serve())
        own("live", self._live.watch(acting.people))
        own("board", self._board.serve())
        self._telling = telling = self._make_telling(acting)
        telling.silences.listen(partial(self._live.publish, Topic.SILENCES))
        telling.start(own, parts)
        parts.push_async_callback(self._world.close)
        server = self._make_server(acting, telling)
        await server.start(self.settings.listen.host, self.settings.listen.port, control=self.settings.data_dir)
        self._address = server.address
        parts.push_async_callback(server.stop)
        own("access", self._access.watch(lambda: self.settings))
        self._scraper.start(group)
        parts.push_async_callback(self._scraper.stop)
        self._listening.start(group)
        parts.push_async_callback(self._listening.stop)
        # before anything is judged, and after the rules are known: alerts belong to rules
        await self._alerting.reload(load_groups(self.settings), {})
        await self._alerting.restore()
        await acting.start(server.address, parts)
        await self._apply(self.settings)
        self.telemetry.note_reload(clock.now())
        own("rules", self._alerting.run(self._not_ready))
        acting.serve(own)
        telling.serve(own, parts)
        own("measured", self.telemetry.measured.serve(acting.state, lambda: acting.environments))
        own("watchdog", self._manager.beat())
        own("event loop", self.telemetry.watch_event_loop(clock.monotonic))
        tune_process()
        return server.address

    def _make_acting(self) -> Acting:
        acting = Acting(
            self.settings,
            secrets=self._secrets,
            world=self._world,
            alerting=self._alerting,
            compared=self._compared_with,
            hold=self._hold,
        )
        self.telemetry.actions.attach(acting, acting.actions)
        return acting

    def _make_telling(self, acting: Acting) -> Telling:
        return Telling(
            self.settings,
            self._secrets,
            self.telemetry,
            alerting=self._alerting,
            acting=acting,
            address=self._external_url,
            not_ready=self._not_ready,
            board=self.board,
            now=clock.now,
        )

    def _make_server(self, acting: Acting, telling: Telling) -> WebServer:
        identity, sources = Identity(), self._sources(acting, telling)
        return WebServer(
            self.page,
            not_ready=self._not_ready,
            reload=self.reload,
            access=self._access,
            waiting=self._scraper.waiting,
            count=self.telemetry.count_answer,
            register=[
                status_routes(self.board),
                prometheus_routes(self._queries, self._alerting, metadata=self._scraper.metrics),
                action_routes(acting.people, identity, now=clock.now),
                *telling.routes(identity, self._access),
                environment_routes(Environments(sources), SchemaDiffs(sources.settings)),
                page_routes(sources),
                openapi_routes(),  # of all before it
            ],
        )

    def _sources(self, acting: Acting, telling: Telling) -> Sources:
        return Sources(
            settings=lambda: self.settings,
            board=self._board,
            judged=self._alerting,
            queries=self._queries,
            port=acting.people,
            silences=telling.silences,
            operators=acting.operators,
            actions=acting.actions,
            stores=lambda: self._stores,
            secrets=self._secrets,
            live=self._live,
            access=self._access,
            address=self._external_url,
            now=clock.now,
            errors=self._scraper.errors,
            reload=lambda: self.telemetry.reload,
            muting=telling.muting,
        )

    def _on_batch(self, batch: Batch) -> None:
        # what has not been looked at yet is not absent
        ready = self._not_ready() is None
        if ready and not self._ready:
            gc.freeze()  # what is known of all environments stays, by and large
        self._ready = ready
        self._alerting.land(batch, judge=ready)
        self._live.publish(Topic.SAMPLES)
        if self._acting is not None:
            self._acting.land(batch)

    def _external_url(self) -> str:
        return (self.settings.external_url or self._address).rstrip("/")

    def _note(self, changes: Sequence[Lasting], at: float) -> None:
        if self._acting is not None:
            self._acting.note(changes, at)

    def _publish(self, transition: Transition) -> None:
        self._live.publish(Topic.ALERTS)
        if self._telling is not None:
            self._telling.publish(transition)
        if self._acting is not None:
            self._acting.wake()

    def _on_action(self, event: ActionEvent) -> None:
        self.telemetry.actions.count(event)
        self.telemetry.measured.note(event)
        self._live.publish(Topic.ACTIONS)
        if self._telling is not None:
            self._telling.on_action(event)

    async def _reload_and_log(self) -> None:
        try:
            await self.reload()
        except CustodeError as error:
            log.error("reload_refused", error=str(error), hint=error.hint)  # noqa: TRY400 - no trace is needed
        else:
            log.info("reloaded", source=str(self.settings.source))


_FIXED = ("data_dir", "state", "listen", "external_url", "notifiers", "alertmanager", "heartbeat", "log")


def _refuse_what_needs_a_restart(old: Settings, new: Settings) -> None:
    changed = [key for key in _FIXED if getattr(old, key) != getattr(new, key)]
    # what the sample store and the queries of the API are made with
    fixed = ("promql_compat", "experimental_functions", "history", "sample_limit")
    changed += [f"rules.{key}" for key in fixed if getattr(old.rules, key) != getattr(new.rules, key)]
    if changed:
        raise DaemonError(f"{', '.join(changed)} cannot change while the daemon runs", hint="restart it")
