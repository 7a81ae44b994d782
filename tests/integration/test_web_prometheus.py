"""Prometheus's HTTP API: what it answers to Grafana and to promtool, and its errors."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rules import Dialect, Labels
from tests.integration.prometheus_site import DB1, DB2, NOW, ODD, START, Site, serving

peer = pytest.mark.peer
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's promtool")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as found:
        yield found


async def test_the_four_kinds_of_answers(site: Site) -> None:
    assert await site.data("query", query="up") == {
        "resultType": "vector",
        "result": [{"metric": DB1, "value": [NOW, "1"]}, {"metric": DB2, "value": [NOW, "0"]}],
    }
    assert await site.data("query", query="1/8", time=START) == {"resultType": "scalar", "result": [START, "0.125"]}
    assert await site.data("query", query='"a\\"b"') == {"resultType": "string", "result": [NOW, 'a"b']}
    assert await site.data("query", query='up{instance="db1"}[31s]', time=START + 30) == {
        "resultType": "matrix",
        "result": [{"metric": DB1, "values": [[START, "1"], [START + 15, "1"], [START + 30, "1"]]}],
    }
    assert await site.data("query", query="nothing") == {"resultType": "vector", "result": []}
    assert len(site.run.threads) == 1  # the one that owns the store


async def test_numbers_are_written_as_go_writes_them(site: Site) -> None:
    found = await site.data("query", query="odd")
    assert {one["metric"]["kind"]: one["value"][1] for one in found["result"]} == {
        "nan": "NaN",
        "inf": "+Inf",
        "minus": "-Inf",
        "large": "1e+21",
        "whole": "10000000000000000",
        "small": "1e-07",
        "tenth": "0.1",
    }
    async with site.client.get("/api/v1/query", params={"query": "-0", "time": "1.5004"}) as response:
        assert await response.text() == '{"status":"success","data":{"resultType":"scalar","result":[1.500,"-0"]}}'


async def test_a_range_is_a_matrix(site: Site) -> None:
    asked = {"query": "sum(up) or vector(7)", "start": START + 290, "end": START + 320, "step": "10s"}
    expected = {
        "resultType": "matrix",
        "result": [
            {"metric": {}, "values": [[START + 290 + 10 * step, "2" if step == 0 else "1"] for step in range(4)]}
        ],
    }
    assert await site.data("query_range", **asked) == expected
    assert await site.data("query_range", **{**asked, "step": "10"}) == expected
    assert (await site.data("query_range", **{**asked, "query": "3"}))["result"][0]["values"][0][1] == "3"


@pytest.mark.parametrize(
    "moment",
    [
        str(START + 0.25),
        "1700000000250e-3",
        "2023-11-14T22:13:20.25Z",
        "2023-11-14T22:13:20.250000009Z",
        "2023-11-14T23:13:20.25+01:00",
    ],
)
async def test_times_may_be_unix_or_rfc3339(site: Site, moment: str) -> None:
    assert (await site.data("query", query="up", time=moment))["result"][0]["value"][0] == START + 0.25


async def test_forms_are_read_as_addresses_are(site: Site) -> None:
    async with site.client.post("/api/v1/query?time=5", data={"query": "up", "time": NOW}) as response:
        assert len((await response.json())["data"]["result"]) == 2  # the form comes first
    form = {"query": "up", "start": START, "end": START, "step": "1m"}
    async with site.client.post("/api/v1/query_range", data=form) as response:
        assert (await response.json())["data"]["result"][0] == {"metric": DB1, "values": [[START, "1"]]}
    async with site.client.post("/api/v1/series", data={"match[]": "up"}) as response:
        assert (await response.json())["data"] == [DB1, DB2]
    async with site.client.put("/api/v1/query") as response:
        assert response.status == 405


async def test_a_limit_is_told_as_a_warning(site: Site) -> None:
    truncated = ["results truncated due to limit"]
    _, document = await site.get("query", query="up", limit=1)
    assert (len(document["data"]["result"]), document["warnings"]) == (1, truncated)
    _, document = await site.get("series", match_list="up", limit=1)
    assert (document["data"], document["warnings"]) == ([DB1], truncated)
    for limit in (0, 2, ""):
        _, document = await site.get("labels", match_list="odd", limit=limit)
        assert (document["data"], "warnings" in document) == (["__name__", "kind"], False)


async def test_annotations_come_apart(site: Site) -> None:
    _, document = await site.get("query", query="quantile(2, up) + rate(up[5m])")
    assert any("quantile value should be between 0 and 1" in text for text in document["warnings"])
    assert any("metric might not be a counter" in text for text in document["infos"])


ALL = {"a.metric", "ALERTS", "ALERTS_FOR_STATE", "gone", "odd", "one", "requests_total", "up", "up:sum"}


async def test_series_and_labels(site: Site) -> None:
    found = await site.data("series", match_list=["up", '{__name__=~"req.+",instance!="db7"}', "up"])
    assert found == [{"__name__": "requests_total", "instance": "db1", "job": "pg"}, DB1, DB2]
    assert set(await site.data("label/__name__/values")) == ALL
    assert await site.data("label/instance/values", match_list="up") == ["db1", "db2"]
    assert await site.data("label/nope/values") == []
    assert await site.data("labels", match_list=["up", "odd"]) == ["__name__", "instance", "job", "kind"]
    assert set(await site.data("labels")) >= {"__name__", "a.label", "_b", "kind", "alertstate"}


async def test_series_are_those_of_the_range(site: Site) -> None:
    async def seen(start: float, end: float) -> list[str]:
        return [one["instance"] for one in await site.data("series", match_list="gone", start=start, end=end)]

    assert await seen(START, START + 10) == ["old"]
    assert await seen(START + 61, START + 62) == ["old"]  # its sample still counts
    assert await seen(START + 75, NOW) == []
    assert await seen(START - 100, START - 1) == []
    assert await seen(NOW, START) == []
    everything = {"start": "-292273086-05-16T16:47:06Z", "end": "292277025-08-18T07:12:54.999999999Z"}
    assert await site.data("series", match_list="gone", **everything) == [{"__name__": "gone", "instance": "old"}]


async def test_any_utf8_may_be_a_name(site: Site) -> None:
    assert await site.data("label/U__a_2e_label/values") == ["pi\u00f9"]
    assert await site.data("label/U____b/values") == ["1"]
    assert await site.data("label/U___62_/values") == []
    assert await site.data("label/U__a_zz_/values") == []
    assert await site.data("label/U___D800_/values") == []
    assert await site.data("series", match_list='{"a.metric","a.label"=~"pi."}') == [
        {"__name__": "a.metric", "_b": "1", "a.label": "pi\u00f9"}
    ]


async def test_names_in_prometheus_2() -> None:
    async with serving(Dialect(compat=2)) as site:
        assert await site.error("label/a.label/values") == (400, "bad_data", 'invalid label name: "a.label"')
        assert (await site.data("status/buildinfo"))["version"] == "2.42.0"


BAD = [
    ("query", {}, 'invalid parameter "query": could not parse expression: no expression found in input'),
    (
        "query",
        {"query": "up", "time": "x"},
        'invalid parameter "time": Invalid time value for \'time\': cannot parse "x" ',
    ),
    ("query", {"query": "up", "time": "NaN"}, 'cannot parse "NaN" to a valid timestamp'),
    ("query", {"query": "up", "time": "1e300"}, 'cannot parse "1e300" to a valid timestamp'),
    ("query", {"query": "up", "time": "2023-02-30T00:00:00Z"}, "to a valid timestamp"),
    ("query", {"query": "up", "timeout": "x"}, 'invalid parameter "timeout": cannot parse "x" to a valid duration'),
    ("query", {"query": "up", "timeout": "1e10"}, "to a valid duration. It overflows int64"),
    ("query", {"query": "up", "limit": "x"}, 'invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax'),
    ("query", {"query": "up", "limit": "-1"}, 'invalid parameter "limit": limit must be non-negative'),
    ("query", {"query": "up", "lookback_delta": "1m"}, 'invalid parameter "lookback_delta": it is not supported'),
    ("query_range", {"query": "up"}, 'invalid parameter "start": cannot parse "" to a valid timestamp'),
    ("query_range", {"end": 0}, 'invalid parameter "end": end timestamp must not be before start time'),
    ("query_range", {"step": 0}, 'invalid parameter "step": zero or negative query resolution step widths are not '),
    ("query_range", {"step": "x"}, 'invalid parameter "step": cannot parse "x" to a valid duration'),
    ("query_range", {"step": "NaN"}, 'invalid parameter "step": cannot parse "NaN" to a valid duration'),
    ("query_range", {"end": "+Inf"}, 'invalid parameter "end": cannot parse "+Inf" to a valid timestamp'),
    ("query_range", {"end": 1e9}, "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing"),
    ("query_range", {"step": "1e-300"}, "exceeded maximum resolution of 11,000 points per timeseries."),
    ("query_range", {"query": "up[5m]"}, 'invalid expression type "range vector" for range query, must be Scalar or '),
    ("query_range", {"query": "sum("}, 'invalid parameter "query": could not parse expression:'),
    ("series", {}, "no match[] parameter provided"),
    ("series", {"match_list": "up[5m]"}, 'invalid parameter "match[]": not a series selector'),
    ("series", {"match_list": "up offset 5m"}, 'invalid parameter "match[]": not a series selector'),
    ("series", {"match_list": "up @ 5"}, 'invalid parameter "match[]": not a series selector'),
    ("series", {"match_list": '{a=""}'}, "must contain at least one non-empty matcher"),
    ("series", {"match_list": 'up{a=~"("}'}, 'invalid parameter "match[]": '),
    ("labels", {"match_list": ["up", "("]}, 'invalid parameter "match[]": '),
    ("labels", {"start": "x"}, "Invalid time value for 'start'"),
    ("label/job/values", {"match_list": ["up"] * 101}, 'invalid parameter "match[]": 101 selectors are too many'),
    ("rules", {"type": "x"}, 'invalid parameter "type": not supported value "x"'),
    ("rules", {"exclude_alerts": "x"}, 'invalid parameter "exclude_alerts": strconv.ParseBool'),
    ("rules", {"group_limit": "0"}, 'invalid parameter "group_limit": group_limit needs to be a valid number'),
    ("rules", {"group_next_token": "x"}, "group_limit needs to be present in order to paginate over the groups"),
    ("rules", {"group_limit": 1, "group_next_token": "x"}, "invalid group_next_token 'x'. were rule groups changed?"),
    ("rules", {"match_list": "("}, 'invalid parameter "match[]": '),
    ("format_query", {"query": "("}, 'invalid parameter "query": '),
    ("query_exemplars", {}, 'invalid parameter "query": '),
]


@pytest.mark.parametrize(("path", "asked", "message"), BAD)
async def test_bad_data_is_400_with_prometheus_text(site: Site, path: str, asked: dict[str, Any], message: str) -> None:
    usual = (
        {"query": "up", "start": 1, "end": 2, "step": 1} if path == "query_range" and asked != {"query": "up"} else {}
    )
    status, kind, error = await site.error(path, **{**usual, **asked})
    assert (status, kind) == (400, "bad_data")
    assert message in error


async def test_what_grafana_also_asks_for(site: Site) -> None:
    assert (await site.data("status/buildinfo"))["version"] == "3.0.0"
    assert await site.data("query_exemplars", query="up", start=START, end=NOW) == []
    assert await site.data("format_query", query="sum(rate(up[5m]offset 1m))by(job)") == (
        "sum by (job) (rate(up[5m] offset 1m))"
    )
    assert await site.data("format_query", query="up  @  5") == "up  @  5"
    assert await site.data("metadata") == {
        "custode_x_total": [{"type": "counter", "help": "How many.", "unit": ""}],
        "custode_y_info": [{"type": "gauge", "help": "What.", "unit": ""}],
    }
    assert list(await site.data("metadata", limit=1)) == ["custode_x_total"]
    assert list(await site.data("metadata", metric="custode_y_info")) == ["custode_y_info"]


def promtool(*arguments: str) -> tuple[int, list[str]]:
    command = ["promtool", "query", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, (done.stdout + done.stderr).splitlines()


@peer
@needs_promtool
async def test_promtool_understands_the_answers(site: Site) -> None:
    async def ask(kind: str, *arguments: str) -> list[str]:
        code, lines = await asyncio.to_thread(promtool, kind, *arguments)
        assert code == 0, lines
        return lines

    live = [(Labels({"__name__": "live", "kind": kind}), value) for kind, value in ODD.items()]
    site.store.land("qa/live", time.time(), live)  # promtool asks for now
    assert [line.partition(" @[")[0] for line in await ask("instant", site.url, "live")] == [
        'live{kind="nan"} => NaN',
        'live{kind="inf"} => +Inf',
        'live{kind="minus"} => -Inf',
        'live{kind="large"} => 1000000000000000000000',
        'live{kind="whole"} => 10000000000000000',
        'live{kind="small"} => 0.0000001',
        'live{kind="tenth"} => 0.1',
    ]
    assert (await ask("instant", site.url, "1/3"))[0].startswith("scalar: 0.3333333333333333 @[")
    span = [f"--start={START:.0f}", f"--end={START + 30:.0f}"]
    assert await ask("range", *span, "--step=15s", site.url, 'up{instance="db1"}') == [
        'up{instance="db1", job="pg"} =>',
        *(f"1 @[{START + 15 * step:.0f}]" for step in range(3)),
    ]
    assert await ask("series", "--match=up", *span, site.url) == [
        '{__name__="up", instance="db1", job="pg"}',
        '{__name__="up", instance="db2", job="pg"}',
    ]
    assert await ask("labels", "--match=up", *span, site.url, "instance") == ["db1", "db2"]


@peer
@needs_promtool
async def test_promtool_understands_the_errors(site: Site) -> None:
    span = [f"--start={START:.0f}", f"--end={START + 30:.0f}", "--step=15s"]
    code, lines = await asyncio.to_thread(promtool, "range", *span, site.url, "up * on() up")
    assert code != 0
    assert "execution: " in lines[0]
