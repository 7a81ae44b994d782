"""What the configuration says of an S3 store."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fleet.durations import Duration
from fleet.errors import StoreError
from fleet.policy import Strict
from fleet.secrets import SecretText
from fleet.stores._store import check_key


def _prefix(text: str) -> str:
    """Raises ValueError."""
    text = text.strip("/")
    if text:
        try:
            check_key(text)
        except StoreError as error:
            raise ValueError("must be parts of printable ASCII between /, none starting with a dot") from error
    return text


def _without_login(url: str) -> str:
    if "@" in url:
        raise ValueError("must hold no user and password, for it is shown as it is: set access_key_id")
    return url


def _at_least_a_second(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("must be at least 1s")
    return value


class ObjectLock(Strict):
    """How long nobody may remove what was stored; of a bucket that was made with object lock."""

    mode: Literal["governance", "compliance"] = Field(
        description="governance: some may still remove it; compliance: nobody may, not even the account's owner"
    )
    days: Annotated[int, Field(ge=1)] = Field(description="days from being stored on")


class S3Options(Strict):
    bucket: str = Field(min_length=3, description="the bucket; it must exist")
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        "custode", description="everything below it in the bucket is Custode's; empty: the whole bucket is"
    )
    endpoint_url: Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_without_login)] | None = Field(
        None, description="URL of another service than Amazon's"
    )
    region: str | None = Field(None, description="region of the bucket; null: as boto3 finds it")
    access_key_id: SecretText | None = Field(
        None, description="the login; null: as boto3 finds it (environment, profile, role)"
    )
    secret_access_key: SecretText | None = Field(None, description="its secret")
    session_token: SecretText | None = Field(None, description="its token, where it is a temporary one")
    storage_class: (
        Literal["STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER"]
        | Literal["DEEP_ARCHIVE"]
        | None
    ) = Field(None, description="class of contents; manifests and indexes are always in the bucket's own")
    object_lock: ObjectLock | None = Field(None, description="make what is stored irremovable for a time")
    thaw_tier: Literal["Expedited", "Standard", "Bulk"] = Field(
        "Standard", description="how quickly archived contents are made readable for a restore"
    )
    thaw_days: Annotated[int, Field(ge=1)] = Field(7, description="days for which they stay readable then")
    path_style: bool | None = Field(
        None, description="bucket in the path, not in the host name; null: where endpoint_url is set"
    )
    timeout: Annotated[Duration, AfterValidator(_at_least_a_second)] = Field(
        timedelta(seconds=60), description="how long one try of a request waits for an answer"
    )

    @model_validator(mode="after")
    def _login_is_whole(self) -> S3Options:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key go together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token needs access_key_id")
        return self
