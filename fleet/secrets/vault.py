"""`vault:mount/path#key`: HashiCorp Vault or OpenBao, secrets engine KV version 2.

The address is $VAULT_ADDR (and $VAULT_NAMESPACE, $VAULT_CACERT), the token $VAULT_TOKEN, or the first line of the file
$VAULT_TOKEN_FILE or ~/.vault-token, read again each time since an agent renews it.
API: developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2, "Read secret version".
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from fleet.errors import SecretError
from fleet.secrets._source import SecretSource

TIMEOUT_SECONDS = 5.0
_REFERENCE = re.compile(r"(?P<mount>[^/#]+)/(?P<path>[^#]+)#(?P<key>.+)")
_REFUSED = {
    403: ("access is denied", "is the token valid, and may its policy read MOUNT/data/PATH?"),
    404: ("there is no such secret", "is it KV version 2, are mount and path right, and is the version not deleted?"),
    429: ("the server is a standby or limits the rate", "VAULT_ADDR must name the active server"),
    503: ("the server is sealed or in maintenance", "unseal it"),
}


class VaultSource(SecretSource):
    name = "vault"
    summary = "vault:MOUNT/PATH#KEY, Vault or OpenBao (KV version 2), by $VAULT_ADDR and $VAULT_TOKEN"

    async def resolve(self, reference: str) -> str:
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise SecretError(f"vault:{reference} is no reference", hint="write vault:mount/path#key")
        address = os.environ.get("VAULT_ADDR")
        if not address:
            raise SecretError(f"vault:{reference}: VAULT_ADDR is not set", hint="export VAULT_ADDR=https://host:8200")
        headers = {"X-Vault-Token": await asyncio.to_thread(_token), "X-Vault-Request": "true"}
        if namespace := os.environ.get("VAULT_NAMESPACE"):
            headers["X-Vault-Namespace"] = namespace
        url = f"{address.rstrip('/')}/v1/{quote(match['mount'])}/data/{quote(match['path'])}"
        data = await _read(url, headers, reference)
        value = data.get(match["key"])
        if value is None or value == "":
            raise SecretError(f"vault:{reference}: the secret has no key {match['key']!r}, or it is empty")
        return value if isinstance(value, str) else json.dumps(value)


async def _read(url: str, headers: dict[str, str], reference: str) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    try:
        tls = await asyncio.to_thread(_tls)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            # a redirect would take the token to another host
            session.get(URL(url, encoded=True), headers=headers, ssl=tls, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                said, hint = _REFUSED.get(answer.status, (f"the server answers {answer.status}", None))
                raise SecretError(f"vault:{reference}: {said}", hint=hint)
            content = await answer.json(content_type=None)
    except TimeoutError as error:
        raise SecretError(f"vault:{reference}: no answer within {TIMEOUT_SECONDS:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise SecretError(
            f"vault:{reference}: {type(error).__name__} at $VAULT_ADDR", hint="is it reachable?"
        ) from error
    try:
        data = content["data"]["data"]
    except (KeyError, TypeError):
        data = None
    if not isinstance(data, dict):
        raise SecretError(f"vault:{reference}: this is not KV version 2")
    return data


def _tls() -> ssl.SSLContext | bool:
    authority = os.environ.get("VAULT_CACERT")
    return ssl.create_default_context(cafile=authority) if authority else True


def _token() -> str:
    if token := os.environ.get("VAULT_TOKEN"):
        return token
    path = Path(os.environ.get("VAULT_TOKEN_FILE") or Path.home() / ".vault-token")
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(
            "there is no Vault token", hint="set VAULT_TOKEN, or VAULT_TOKEN_FILE to the file an agent writes"
        ) from error
    if not lines:
        raise SecretError(f"the Vault token file {path} is empty")
    return lines[0]
