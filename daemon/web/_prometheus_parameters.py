"""The parameters of Prometheus's API, for the API's document; they are read by `_prometheus_form`, in its own words."""

from __future__ import annotations

from pydantic import BaseModel, Field

from daemon.web._actions_input import Nothing

_MOMENT = "unix seconds, or RFC 3339"
_DURATION = "seconds, or a duration such as 1m30s"
_REPEATED = "selectors, such as up{environment='qa'}; may be repeated"


class _Timed(BaseModel):
    query: str = Field(description="an expression of PromQL")
    timeout: str | None = Field(None, description=_DURATION)
    limit: int | None = Field(None, ge=0, description="of the series answered; 0: all")


class InstantParameters(_Timed):
    time: str | None = Field(None, description=_MOMENT)


class RangeParameters(_Timed):
    start: str = Field(description=_MOMENT)
    end: str = Field(description=_MOMENT)
    step: str = Field(description=_DURATION)


class FindParameters(BaseModel):
    match: list[str] = Field([], alias="match[]", description=_REPEATED)
    start: str | None = Field(None, description=_MOMENT)
    end: str | None = Field(None, description=_MOMENT)
    limit: int | None = Field(None, ge=0, description="of what is answered; 0: all")


class SeriesParameters(FindParameters):
    match: list[str] = Field(alias="match[]", description=_REPEATED)


class FormatParameters(BaseModel):
    query: str = Field(description="an expression of PromQL")


class RuleParameters(BaseModel):
    type: str | None = Field(None, description="alert or record: only these")
    exclude_alerts: str | None = Field(None, description="true: rules without their alerts")


class MetadataParameters(BaseModel):
    metric: str | None = Field(None, description="only of this one")
    limit: int | None = Field(None, ge=0, description="of the metrics answered; 0: all")


PARAMETERS: dict[str, type[BaseModel]] = {
    "query": InstantParameters,
    "query_range": RangeParameters,
    "series": SeriesParameters,
    "labels": FindParameters,
    "label/{name}/values": FindParameters,
    "format_query": FormatParameters,
    "query_exemplars": FormatParameters,
    "rules": RuleParameters,
    "alerts": Nothing,
    "metadata": MetadataParameters,
    "status/buildinfo": Nothing,
}
