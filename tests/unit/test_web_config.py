"""web.yml and the part `access` of the configuration: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from daemon.actions.operators import Operators
from daemon.config import ConfigError, OperatorSettings, Settings, parse
from daemon.web.access.people import own_account
from daemon.web.access.policy import AccessPolicy, read_policy
from daemon.web.access.sessions import Proof
from daemon.web.access.visitor import Role
from daemon.web.access.web_config import read_web_config
from fleet.errors import ConfigError as AnyConfigError
from tests.access_site import hashed

ALLOWED = 10  # failures in a minute, by default

NOBODY = Operators({}, "root")
PROOF = Proof("token", "ada", b"x")


def write(path: Path, document: object) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"basic_auth_user": {}}, "basic_auth_user: is not known here (did you mean basic_auth_users?"),
        ({"basic_auth_users": {"ada": "geheim"}}, "basic_auth_users.ada: is no bcrypt hash"),
        ({"basic_auth_users": {"a:b": hashed("geheim")}}, "must match pattern"),
        ({"tls_server_config": {"cert_file": "a"}}, "tls_server_config.key_file: is missing"),
        (
            {"tls_server_config": {"cert_file": "a", "key_file": "b", "client_auth_type": "RequestClientCert"}},
            "client_auth_type: is not one of the possible values (known are: NoClientCert",
        ),
        (
            {"tls_server_config": {"cert_file": "a", "key_file": "b", "client_auth_type": "VerifyClientCertIfGiven"}},
            "client_ca_file and a client_auth_type that verifies need each other",
        ),
        ({"tls_server_config": {"cert_file": "a", "key_file": "b", "min_version": "SSL30"}}, "min_version"),
        (
            {"tls_server_config": {"cert_file": "a", "key_file": "b", "cipher_suites": ["TLS_RSA_WITH_RC4_128_SHA"]}},
            "is none that can be chosen; known are: TLS_ECDHE_",
        ),
        (
            {"tls_server_config": {"cert_file": "a", "key_file": "b", "min_version": "TLS13", "max_version": "TLS12"}},
            "min_version is above max_version",
        ),
        ({"http_server_config": {"headers": {"X-A": "b\r\nSet-Cookie: c"}}}, "http_server_config.headers"),
        ({"rate_limit": {"interval": "fast"}}, "rate_limit.interval"),
        ([], "must be a mapping"),
    ],
)
def test_a_web_yml_that_cannot_be_used(tmp_path: Path, document: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_web_config(write(tmp_path / "web.yml", document))
    assert said in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_web_yml_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_web_config(tmp_path / "web.yml")
    (tmp_path / "web.yml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_web_config(tmp_path / "web.yml")
    (tmp_path / "web.yml").write_text("basic_auth_users: {a: [")
    with pytest.raises(ConfigError, match="broken YAML"):
        read_web_config(tmp_path / "web.yml")
    (tmp_path / "web.yml").write_text("rate_limit: {burst: 1}\nrate_limit: {burst: 2}\n")
    with pytest.raises(ConfigError, match="rate_limit: is written twice"):
        read_web_config(tmp_path / "web.yml")
    (tmp_path / "web.yml").write_text("")
    assert read_web_config(tmp_path / "web.yml").users == {}


def test_paths_in_web_yml_begin_at_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    read = read_web_config(
        write(folder / "web.yml", {"tls_server_config": {"cert_file": "a.pem", "key_file": "/b.pem"}})
    )
    assert read.tls_server_config is not None
    assert (read.tls_server_config.cert_file, read.tls_server_config.key_file) == (folder / "a.pem", Path("/b.pem"))
    (folder / "a.pem").write_text("geheim")
    with pytest.raises(AnyConfigError, match=r"a\.pem cannot be used with the key /b\.pem") as caught:
        read_policy(settings(tmp_path, {"config_file": str(folder / "web.yml")}))
    assert "geheim" not in f"{caught.value} {caught.value.hint}"


def settings(folder: Path, access: object, listen: str = "127.0.0.1:0", **more: object) -> Settings:
    document = {"environments": {"qa": {"tier": "qa", "dsn": "env:X"}}, "access": access, "listen": listen, **more}
    return parse(yaml.safe_dump(document), folder / "custode.yml")


@pytest.mark.parametrize(
    ("access", "operators", "refused"),
    [
        ({}, {}, True),
        ({}, {"ada": {}}, True),
        ({"insecure": True}, {}, False),
        ({}, {"ada": {"token": "env:ADA"}}, False),
        ({"tokens": {"p": {"token": "env:P"}}}, {}, False),
        ({"anonymous": True}, {"ada": {"token": "env:ADA"}}, True),
        ({"config_file": "users.yml"}, {}, False),
        ({"config_file": "headers.yml"}, {}, True),
    ],
)
def test_others_read_only_where_somebody_said_so(
    tmp_path: Path, access: dict[str, object], operators: dict[str, object], refused: bool
) -> None:
    write(tmp_path / "users.yml", {"basic_auth_users": {"ada": hashed("x")}})
    write(tmp_path / "headers.yml", {"http_server_config": {"headers": {"X-A": "b"}}})
    found = settings(tmp_path, access, "0.0.0.0:9188", operators=operators)
    read_policy(settings(tmp_path, access, "[::1]:9188", operators=operators))
    if not refused:
        read_policy(found)
        return
    with pytest.raises(AnyConfigError, match=r"0\.0\.0\.0:9188 is reached by other machines") as caught:
        read_policy(found)
    assert "custode token" in str(caught.value.hint)
    read_policy(found, insecure=True)


@pytest.mark.parametrize(
    ("access", "operators", "refused"),
    [
        ({"tokens": {"ME": {"token": "env:P"}}}, {}, False),
        ({"tokens": {"ME": {"token": "env:P", "role": "operator"}}}, {}, True),
        ({"tokens": {"ME": {"token": "env:P", "role": "admin"}}}, {}, True),
        ({"tokens": {"ME": {"token": "env:P", "role": "admin"}}}, {"ada": {}}, False),
        ({"tokens": {"other": {"token": "env:P", "role": "admin"}}}, {}, False),
        ({"config_file": "users.yml"}, {}, False),
        ({"config_file": "users.yml", "roles": {"ME": "operator"}}, {}, True),
        ({"roles": {"ME": "admin"}}, {}, False),
    ],
)
def test_nobody_over_tcp_is_taken_for_the_account_of_the_daemon(
    tmp_path: Path, access: dict[str, object], operators: dict[str, object], refused: bool
) -> None:
    write(tmp_path / "users.yml", {"basic_auth_users": {own_account(): hashed("x")}})
    named = yaml.safe_load(yaml.safe_dump(access).replace("ME", own_account()))
    found = settings(tmp_path, named, operators=operators)
    if not refused:
        read_policy(found)
        return
    with pytest.raises(AnyConfigError, match="the daemon's own account"):
        read_policy(found)


def test_roles() -> None:
    people = Operators({"ada": OperatorSettings(), "bob": OperatorSettings()}, "root")
    policy = AccessPolicy()
    assert [policy.role(name, people) for name in ("ada", "vera")] == [Role.OPERATOR, Role.VIEWER]
    named = AccessPolicy(settings=policy.settings.model_copy(update={"roles": {"ada": "viewer", "vera": "admin"}}))
    assert [named.role(name, people) for name in ("ada", "vera")] == [Role.VIEWER, Role.ADMIN]
    assert policy.open_to_read(NOBODY)
