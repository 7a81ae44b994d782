"""The running daemon, asked over its control socket, else over TCP."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import aiohttp
import typer
from pydantic import TypeAdapter, ValidationError

from daemon import clock
from daemon.actions.port import NotAllowedError, NotPossibleError, UnknownRunError
from daemon.cli._console import config_path
from daemon.config import Listen, Settings, load
from daemon.data_dir import SOCKET_NAME
from daemon.web._actions_input import BadInputError
from daemon.web.access.errors import UnidentifiedError
from daemon.web.control_socket import socket_path
from fleet.errors import ActionError, CustodeError, DaemonError, StateAwayError, StateError

T = TypeVar("T")
PATIENCE_SECONDS = 60.0  # how long a daemon or its state database may be away before who follows gives up
_ANSWER_SECONDS = 90.0  # a plan is made while we wait
_CONNECT_SECONDS = 5.0
_RUNNING = "is it running (custode run)? name another one with --url"

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="CUSTODE_URL",
        help="Ask the daemon at this address, with the token in CUSTODE_TOKEN [default: the one of the configuration].",
    ),
]


class NoDaemonError(DaemonError):
    """No daemon answers, or what answers is none."""

    code = "CU630"


# what the daemon said is raised here as it was there
_KINDS: Mapping[str, type[CustodeError]] = {
    kind.code: kind
    for kind in (
        BadInputError,
        UnidentifiedError,
        NotAllowedError,
        UnknownRunError,
        NotPossibleError,
        ActionError,
        StateError,
        StateAwayError,
    )
}


@dataclass(frozen=True, slots=True)
class Client:
    """Asks the API below /api/v1; what it gives is the `data` of the answer, JSON as it came.

    All of it raises NoDaemonError, and what the daemon refuses as the error that it was there.
    """

    _session: aiohttp.ClientSession
    _base: str
    where: str

    async def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Parameters that are None are left out, lists are repeated."""
        pairs: list[tuple[str, str]] = []
        for name, value in (query or {}).items():
            values = value if isinstance(value, list) else [] if value is None else [value]
            pairs += [(name, str(one)) for one in values]
        return await self._ask("GET", path, params=pairs)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return await self._ask("POST", path, json=body)

    async def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        url = f"{self._base}/api/v1/{path}"
        try:
            # a redirection would carry the token elsewhere
            async with self._session.request(method, url, allow_redirects=False, **arguments) as response:
                return _data(await response.read(), response.status, self.where)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoDaemonError(f"no daemon answers at {self.where}", hint=_RUNNING) from error


def parsed(shape: TypeAdapter[T], data: Any) -> T:
    """What came as the facts that it tells, for people: characters that a terminal would obey are escaped.

    Raises:
        NoDaemonError: it is something else.
    """
    try:
        return shape.validate_python(_harmless(data))
    except ValidationError as error:
        raise NoDaemonError("the daemon answers in a way that this command does not know", hint=_VERSIONS) from error


_VERSIONS = "are both of the same version?"


@dataclass(slots=True)
class Patience:
    """Bears with a daemon that is away for PATIENCE_SECONDS, such as one that is started anew."""

    _since: float | None = None

    def bear(self, error: NoDaemonError | StateAwayError) -> None:
        """Raises `error` when it has lasted too long."""
        now = clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > PATIENCE_SECONDS:
            raise error

    def answered(self) -> None:
        self._since = None


@asynccontextmanager
async def reach(config: Path | Settings | None, url: str | None) -> AsyncIterator[Client]:
    """The daemon at `url`, else the one of the configuration.

    Raises:
        ConfigError, BadParameter: the configuration, the address or the token cannot be used.
    """
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS)
    async with AsyncExitStack() as held:
        connector: aiohttp.BaseConnector | None = None
        headers: dict[str, str] = {}
        if url is not None:
            base = where = _checked(url)
            headers = _bearer()
        else:
            settings = config if isinstance(config, Settings) else load(config_path(config))
            socket, where = settings.data_dir / SOCKET_NAME, ""
            try:
                path = await _open(held, settings.data_dir)
                connector, base, where = aiohttp.UnixConnector(path), "http://custode", str(socket)
            except OSError as error:
                base, headers = url_of(settings.listen), _bearer()
                where = f"{socket} ({error.strerror or error}) or {base}"
        session = aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout)
        yield Client(await held.enter_async_context(session), base, where)


def url_of(listen: Listen) -> str:
    """Where a daemon of this machine that listens so is reached."""
    host = "127.0.0.1" if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104 - to ask, not to bind
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"


def run_command(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its exit status."""
    try:
        status = asyncio.run(work)
    except KeyboardInterrupt:
        status = 130
    raise typer.Exit(status)


async def _open(held: AsyncExitStack, data_dir: Path) -> str:
    """The path of a control socket at which somebody listens. Raises OSError."""
    path = held.enter_context(socket_path(data_dir))
    _, writer = await asyncio.open_unix_connection(path)
    writer.close()
    await writer.wait_closed()
    return path


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
        raise typer.BadParameter("is no address; write it like http://127.0.0.1:9188", param_hint="--url")
    return url.rstrip("/")


def _bearer() -> dict[str, str]:
    token = os.environ.get("CUSTODE_TOKEN", "").strip()
    if not (token.isascii() and token.isprintable()):
        raise typer.BadParameter("holds characters that no token has", param_hint="CUSTODE_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _data(raw: bytes, status: int, where: str) -> Any:
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = None
    match answer:
        case {"status": "success", "data": data}:
            return data
        case {"status": "error", "error": str(message)}:
            hint = answer.get("hint")
            kind = _KINDS.get(str(answer.get("code")), DaemonError)
            raise kind(_harmless(message), hint=_harmless(hint) if isinstance(hint, str) else None)
    raise NoDaemonError(
        f"what answers at {where} is no Custode that this command knows (status {status})", hint=_VERSIONS
    )


def _harmless(value: Any) -> Any:
    """Without characters that a terminal would obey: a name in a database may hold what hides a plan's next line."""
    match value:
        case str():
            return "".join(
                one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode() for one in value
            )
        case list():
            return [_harmless(part) for part in value]
        case dict():
            return {_harmless(name): _harmless(part) for name, part in value.items()}
    return value
