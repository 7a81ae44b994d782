"""TLS as web.yml wants it: versions, certificates of clients, and other certificates while the daemon runs."""

from __future__ import annotations

import asyncio
import ipaddress
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from daemon.web.access.cookies import COOKIE, HOST_COOKIE
from daemon.web.access.policy import read_policy
from fleet.errors import ConfigError
from tests.access_site import PASSWORDS, Clock, access_of, basic, hashed, probes, serving, settings_with

PEM = serialization.Encoding.PEM
NOW = datetime.now(UTC)


class Authority:
    """Signs certificates, and leaves its own and theirs as files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.file = folder / f"{name}.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self.file.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def issue(self, file: str, *names: str) -> int:
        """`file.crt` and `file.key`, for these names of hosts; returns the serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file)])
        sans: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        sans.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        builder = self._builder(subject, key.public_key()).add_extension(
            x509.SubjectAlternativeName(sans), critical=False
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        (self.folder / f"{file}.crt").write_bytes(certificate.public_bytes(PEM))
        secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / f"{file}.key").write_bytes(secret)
        return certificate.serial_number

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        return builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=30))

    def client(self, file: str | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.file)
        if file is not None:
            context.load_cert_chain(self.folder / f"{file}.crt", self.folder / f"{file}.key")
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    found = Authority(tmp_path, "ca")
    found.issue("server")
    return found


def write_tls(folder: Path, **tls: Any) -> None:
    files = {"cert_file": "server.crt", "key_file": "server.key"}
    users = {"ada": hashed(PASSWORDS["ada"])}
    document = {"tls_server_config": files | tls, "basic_auth_users": users}
    (folder / "web.yml").write_text(yaml.safe_dump(document))


@asynccontextmanager
async def served(folder: Path, tls: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    access = access_of(settings_with(folder))
    async with serving(access, [probes(access)], tls) as (server, session):
        assert server.address.startswith("https://127.0.0.1:")
        yield session


async def status(session: aiohttp.ClientSession, path: str = "/api/v1/viewer") -> int:
    async with session.get(path, headers=basic("ada")) as answer:
        return answer.status


async def test_https(tmp_path: Path, authority: Authority) -> None:
    write_tls(tmp_path)
    async with served(tmp_path, authority.client()) as session:
        assert await status(session) == 200
        async with session.post("/sign-in", params={"user": "ada"}) as answer:
            assert answer.status == 200
            found = await answer.text()
        for name, expected in ((HOST_COOKIE, 200), (COOKIE, 401)):  # others may have planted what is no __Host-
            async with session.get("/api/v1/viewer", headers={"Cookie": f"{name}={found}"}) as answer:
                assert answer.status == expected
        plain = f"http{str(session._base_url).removeprefix('https')}api/v1/viewer"
        async with aiohttp.ClientSession() as without:
            with pytest.raises(aiohttp.ClientError):
                await without.get(plain)
        assert await status(session) == 200
        old = authority.client()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        async with aiohttp.ClientSession(session._base_url, connector=aiohttp.TCPConnector(ssl=old)) as older:
            assert await status(older) == 200


@pytest.mark.parametrize(
    ("tls", "client", "spoken"),
    [
        ({"min_version": "TLS13"}, {"maximum_version": ssl.TLSVersion.TLSv1_2}, None),
        ({"max_version": "TLS12"}, {"minimum_version": ssl.TLSVersion.TLSv1_3}, None),
        ({"min_version": "TLS13"}, {}, "TLSv1.3"),
        ({"max_version": "TLS12"}, {}, "TLSv1.2"),
        ({"curve_preferences": ["X25519"]}, {}, "TLSv1.3"),
    ],
)
async def test_versions(
    tmp_path: Path, authority: Authority, tls: dict[str, Any], client: dict[str, Any], spoken: str | None
) -> None:
    write_tls(tmp_path, **tls)
    context = authority.client()
    for name, value in client.items():
        setattr(context, name, value)
    async with served(tmp_path, context) as session:
        if spoken is None:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("/-/healthy")
            return
        host, port = session._base_url.host, session._base_url.port  # type: ignore[union-attr]
        _, writer = await asyncio.open_connection(host, port, ssl=context)
        assert writer.get_extra_info("ssl_object").version() == spoken
        writer.close()
        await writer.wait_closed()


async def test_ciphers(tmp_path: Path, authority: Authority) -> None:
    chosen = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    write_tls(tmp_path, max_version="TLS12", cipher_suites=["TLS_AES_128_GCM_SHA256", chosen])
    tls = read_policy(settings_with(tmp_path)).tls
    assert tls is not None
    found = [cipher["name"] for cipher in tls.get_ciphers() if not cipher["name"].startswith("TLS_")]
    assert found == ["ECDHE-ECDSA-AES256-GCM-SHA384"]


async def test_certificates_of_clients(tmp_path: Path, authority: Authority) -> None:
    authority.issue("prometheus", "prometheus.internal")
    authority.issue("other", "other.internal")
    stranger = Authority(tmp_path, "strange")
    stranger.issue("forged", "prometheus.internal")
    forged = authority.client()
    forged.load_cert_chain(tmp_path / "forged.crt", tmp_path / "forged.key")
    write_tls(
        tmp_path,
        client_auth_type="RequireAndVerifyClientCert",
        client_ca_file="ca.crt",
        client_allowed_sans=["prometheus.internal"],
    )
    async with served(tmp_path, authority.client("prometheus")) as session:
        assert await status(session) == 200
        for context, expected in ((authority.client("other"), 403), (authority.client(), None), (forged, None)):
            async with aiohttp.ClientSession(session._base_url, connector=aiohttp.TCPConnector(ssl=context)) as other:
                if expected is None:
                    with pytest.raises(aiohttp.ClientError):
                        await status(other)
                else:
                    assert await status(other) == expected
        assert read_policy(settings_with(tmp_path)).wants_certificates


async def test_another_certificate_is_served_without_a_restart(tmp_path: Path, authority: Authority) -> None:
    write_tls(tmp_path)
    settings = settings_with(tmp_path)
    access = access_of(settings, Clock())

    async def serial() -> int:
        _, writer = await asyncio.open_connection(host, port, ssl=authority.client())
        found = writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
        writer.close()
        await writer.wait_closed()
        return int(found, 16)

    async def logged(event: str) -> None:
        async with asyncio.timeout(60):
            while not any(entry["event"] == event for entry in logs):  # noqa: ASYNC110 - nobody tells of a log
                await asyncio.sleep(0.02)

    with capture_logs() as logs:
        async with serving(access, [probes(access)], authority.client()) as (server, session):
            host, port = session._base_url.host, session._base_url.port  # type: ignore[union-attr]
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(access.watch(lambda: settings, every=0.02))
                first, address = await serial(), server.address
                key = (tmp_path / "server.key").read_bytes()
                Authority(tmp_path, "elsewhere").issue("spare")
                (tmp_path / "server.key").write_bytes((tmp_path / "spare.key").read_bytes())
                await logged("web_config_refused")
                assert await serial() == first  # the key does not fit
                assert await status(session) == 200
                (tmp_path / "server.key").write_bytes(key)
                second = authority.issue("server")
                async with asyncio.timeout(60):
                    while await serial() != second:  # noqa: ASYNC110 - it is what a client would see
                        await asyncio.sleep(0.02)
                assert await status(session) == 200  # the connection from before goes on
                assert server.address == address
                watching.cancel()


async def test_tls_is_not_switched_off_while_the_daemon_runs(tmp_path: Path, authority: Authority) -> None:
    write_tls(tmp_path)
    access = access_of(settings_with(tmp_path))
    (tmp_path / "web.yml").write_text("{}")
    with pytest.raises(ConfigError, match="TLS cannot be switched"):
        await access.read(settings_with(tmp_path))


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_takes_our_tls(tmp_path: Path, authority: Authority) -> None:
    sections: list[dict[str, Any]] = [
        {},
        {"min_version": "TLS13", "max_version": "TLS13"},
        {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"},
        {"cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"], "curve_preferences": ["X25519"]},
        {"prefer_server_cipher_suites": False},
    ]
    for tls in sections:
        write_tls(tmp_path, **tls)
        read_policy(settings_with(tmp_path))
        command = ["promtool", "check", "web-config", str(tmp_path / "web.yml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (tls, done.stdout, done.stderr)
