"""`awssm:name[#jsonkey][@STAGE]`: AWS Secrets Manager. Region, credentials and endpoint come as boto3 finds them."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from fleet.errors import SecretError
from fleet.secrets._source import SecretSource

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_STAGES = r"AWSCURRENT|AWSPREVIOUS|AWSPENDING"
_REFERENCE = re.compile(rf"(?P<name>[^#]+?)(?:#(?P<key>.+?))?(?:@(?P<stage>{_STAGES}))?")
_HINTS = {
    "ResourceNotFoundException": "are the name, the region and the version's stage right?",
    "AccessDeniedException": "the role needs secretsmanager:GetSecretValue on it",
    "DecryptionFailure": "the role needs kms:Decrypt on the secret's key",
    "InvalidRequestException": "is it marked for deletion?",
    "ExpiredTokenException": "renew the AWS credentials",
    "UnrecognizedClientException": "AWS does not know these credentials",
    "403": "AWS does not know these credentials",
}


class SecretsManagerSource(SecretSource):
    name = "awssm"
    summary = "awssm:NAME[#KEY][@AWSPREVIOUS], AWS Secrets Manager; #KEY takes one value out of a JSON secret"

    async def resolve(self, reference: str) -> str:
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise SecretError(f"awssm:{reference} is no reference", hint="write awssm:name, awssm:name#key")
        text = await asyncio.to_thread(_read, match["name"], match["stage"] or "AWSCURRENT")
        value = text if match["key"] is None else _within(text, match["key"], reference)
        if not value:
            raise SecretError(f"the secret awssm:{reference} is empty")
        return value


def _read(name: str, stage: str) -> str:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    try:
        answer = _client().get_secret_value(SecretId=name, VersionStage=stage)
    except NoCredentialsError as error:
        raise SecretError(f"awssm:{name}: no AWS credentials", hint="give the daemon a role or a profile") from error
    except NoRegionError as error:
        raise SecretError(f"awssm:{name}: no AWS region", hint="set AWS_REGION") from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown error")
        raise SecretError(f"awssm:{name} cannot be read: {code}", hint=_HINTS.get(code)) from error
    except BotoCoreError as error:
        raise SecretError(f"awssm:{name} cannot be read: {error}") from error
    if "SecretString" in answer:
        return answer["SecretString"]
    try:
        return answer["SecretBinary"].decode("utf-8")
    except UnicodeDecodeError:
        raise SecretError(f"awssm:{name} is binary and no UTF-8 text") from None


def _client() -> SecretsManagerClient:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "max_attempts": 3})
    # a session of its own: the default one is not safe to share between threads
    return boto3.Session().client("secretsmanager", config=config)


def _within(text: str, key: str, reference: str) -> str:
    try:
        content: Any = json.loads(text)
    except ValueError:
        raise SecretError(f"awssm:{reference}: the secret is no JSON", hint="leave out #key") from None
    if not isinstance(content, dict) or key not in content:
        raise SecretError(f"awssm:{reference}: the secret has no key {key!r}")
    value = content[key]
    return value if isinstance(value, str) else json.dumps(value)
