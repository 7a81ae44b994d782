"""What an S3 service's refusals and failures mean to a person."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.errors import StoreError

# the login may have been changed meanwhile: worth asking its source again
LOGIN_REFUSED = frozenset(
    ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "InvalidToken")
)
_SLOW = "the service is overloaded; what was asked for is tried again at the next run"
_HINTS: Mapping[str, str] = {
    "NoSuchBucket": "is the bucket's name right, and does it exist at this endpoint?",
    "AccessDenied": "may this login list, read, write and delete in the bucket, and abort uploads?",
    "AllAccessDisabled": "the bucket was disabled by its provider",
    "AccountProblem": "the account has a problem: ask the provider",
    "InvalidAccessKeyId": "is access_key_id right, and the key still active?",
    "SignatureDoesNotMatch": "is secret_access_key the one of this access_key_id?",
    "ExpiredToken": "the credentials have expired: renew them",
    "ExpiredTokenException": "the credentials have expired: renew them",
    "InvalidToken": "is session_token the one of this access_key_id?",
    "RequestTimeTooSkewed": "the clocks differ by more than 15 minutes: set this machine's clock by NTP",
    "PermanentRedirect": "the bucket is in another region: set region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set region",
    "IllegalLocationConstraintException": "the bucket is in another region: set region",
    "InvalidObjectState": "it is archived: it must be thawed first, which takes hours",
    "InvalidStorageClass": "this service does not know the storage class",
    "InvalidRequest": "with object_lock, the bucket must have been made with object lock",
    "BadDigest": "it was damaged on its way",
    "XAmzContentSHA256Mismatch": "it was damaged on its way",
    "SlowDown": _SLOW,
    "ServiceUnavailable": _SLOW,
    "InternalError": _SLOW,
    "QuotaExceeded": "the quota is used up",
    "XMinioStorageFull": "the service's disk is full",
    "InsufficientStorage": "the service's disk is full",
}


class CutOffError(StoreError):
    """An answer ended before all of it was there: what is missing can be asked for."""


def code_of(error: BaseException) -> str:
    """The service's own code for a refusal; empty where it is none."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def store_error(what: str, error: Exception) -> StoreError:
    """What boto3 raised, told as an error of the store; `what` could not be done."""
    from botocore import exceptions

    match error:
        case exceptions.ClientError():
            code = code_of(error) or "unknown error"
            said = error.response.get("Error", {}).get("Message", "")
            text = f"{what}: {code}: {said}" if said and said != code else f"{what}: {code}"
            return StoreError(text, hint=_HINTS.get(code))
        case exceptions.FlexibleChecksumError():
            return StoreError(f"{what}: wrong checksum", hint="it is damaged there, or was on its way: try again")
        case exceptions.NoCredentialsError() | exceptions.PartialCredentialsError():
            hint = "set access_key_id and secret_access_key, or give the daemon a role or a profile"
            return StoreError(f"{what}: no credentials", hint=hint)
        case exceptions.IncompleteReadError() | exceptions.ResponseStreamingError() | exceptions.ReadTimeoutError():
            return CutOffError(f"{what}: the connection broke off: {error}", hint="is the network well?")
        case exceptions.ConnectionError() | exceptions.HTTPClientError():
            return StoreError(f"{what}: {error}", hint="are endpoint_url and region right, and is it reachable?")
    return StoreError(f"{what}: {error}")
