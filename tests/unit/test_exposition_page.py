from __future__ import annotations

import asyncio
import gzip
from decimal import Decimal

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collectors import Family, Rows, counter, gauge, info
from daemon.exposition import Page

QA = {"environment": "qa", "tier": "qa"}
PROD = {"environment": "production", "tier": "production", "team": 'the "core"\\team'}
SIZES = Family(("datname",), (gauge("size_bytes", "Size, in bytes."), counter("reads_total", "Reads.")))
FACTS = Family(("version",), (info("server_info", 'The "version"\\of\nit.'),))


def lines(page: Page, *, openmetrics: bool = False) -> list[str]:
    return page.render(openmetrics, gzip=False).decode().splitlines()


async def test_the_two_formats_differ_in_their_headers_only() -> None:
    page = Page()
    await page.land(QA, "sizes", [SIZES.rows([("app", 5, 7)]), FACTS.rows([("18.6", 1)])])
    assert lines(page) == [
        "# HELP custode_reads_total Reads.",
        "# TYPE custode_reads_total counter",
        'custode_reads_total{environment="qa",tier="qa",datname="app"} 7',
        '# HELP custode_server_info The "version"\\\\of\\nit.',
        "# TYPE custode_server_info gauge",
        'custode_server_info{environment="qa",tier="qa",version="18.6"} 1',
        "# HELP custode_size_bytes Size, in bytes.",
        "# TYPE custode_size_bytes gauge",
        'custode_size_bytes{environment="qa",tier="qa",datname="app"} 5',
    ]
    shown = lines(page, openmetrics=True)
    assert shown[0:2] == ["# HELP custode_reads Reads.", "# TYPE custode_reads counter"]
    assert shown[3:5] == ['# HELP custode_server The \\"version\\"\\\\of\\nit.', "# TYPE custode_server info"]
    assert shown[-1] == "# EOF"
    assert [line for line in shown if line[0] != "#"] == [line for line in lines(page) if line[0] != "#"]


async def test_another_parser_reads_what_was_landed() -> None:
    page = Page()
    name = 'a "quoted" \\ back\nslash, città {x="1"} '
    values: list[float | Decimal] = [True, False, 1.5, 10**18, float("inf"), float("-inf"), Decimal("2.25"), 1e300]
    records = [(f"{name}{index}", value, None) for index, value in enumerate(values)]
    await page.land(PROD, "sizes", [SIZES.rows(records)])
    expected = {f"{name}{index}": float(value) for index, value in enumerate(values)}
    for parse, openmetrics in ((parse_text, False), (parse_openmetrics, True)):
        [family] = parse(page.render(openmetrics, gzip=False).decode())
        assert family.name == "custode_size_bytes"
        assert {sample.labels["datname"]: sample.value for sample in family.samples} == expected
        assert {sample.labels["team"] for sample in family.samples} == {PROD["team"]}


async def test_not_a_number_is_written_as_prometheus_reads_it() -> None:
    page = Page()
    await page.land(QA, "sizes", [SIZES.rows([("app", float("nan"), None)])])
    assert lines(page)[-1].endswith("} NaN")


async def test_empty_labels_are_left_out_and_a_familys_label_wins() -> None:
    page = Page()
    own = Family(("team", "valid"), (gauge("x", "X."),))
    await page.land(PROD, "x", [own.rows([(None, True, 1), ("dba", False, 2)])])
    assert lines(page)[2:] == [
        'custode_x{environment="production",tier="production",valid="true"} 1',
        'custode_x{environment="production",tier="production",team="dba",valid="false"} 2',
    ]


async def test_bytes_that_are_no_utf8_do_not_cost_the_page() -> None:
    page = Page()
    await page.land(QA, "sizes", [SIZES.rows([("/mnt/\udcff", 1, 1)])])
    assert 'datname="/mnt/?"' in lines(page)[-1]


async def test_compressed_chunks_make_up_the_same_page() -> None:
    page = Page(lambda openmetrics: b"own 1\n# EOF\n" if openmetrics else b"own 1\n")
    for environment in (QA, PROD):
        await page.land(environment, "sizes", [SIZES.rows([(f"db{n}", n, n / 7) for n in range(3000)])])
    for openmetrics in (False, True):
        plain = page.render(openmetrics, gzip=False)
        assert gzip.decompress(page.render(openmetrics, gzip=True)) == plain
        assert b"".join(page.pieces(openmetrics, gzip=False)) == plain
        assert plain.count(b"\n") == 4 + 2 * 2 * 3000 + 1 + openmetrics


async def test_a_landing_replaces_and_what_is_gone_is_forgotten() -> None:
    page = Page()
    await page.land(QA, "sizes", [SIZES.rows([("old", 1, 1)]), FACTS.rows([("18", 1)])])
    await page.land(PROD, "sizes", [SIZES.rows([("kept", 1, None)])])
    await page.land(QA, "sizes", [SIZES.rows([("new", 2, None)])])
    shown = "\n".join(lines(page))
    assert "old" not in shown
    assert "custode_server_info" not in shown
    assert "custode_reads_total" not in shown
    assert 'datname="new"} 2' in shown
    assert page._landed["qa", "sizes"].parts[SIZES][0].labels == (("new",),)
    page.drop("qa", "other")
    assert 'datname="new"' in "\n".join(lines(page))
    page.drop("qa")
    page.drop("production", "sizes")
    assert lines(page) == []
    assert not page._shown


async def test_changed_environment_labels_reach_old_series() -> None:
    page = Page()
    await page.land(QA, "sizes", [SIZES.rows([("app", 1, None)])])
    await page.land(QA | {"team": "dba"}, "sizes", [SIZES.rows([("app", 1, None)])])
    assert lines(page)[2:] == ['custode_size_bytes{environment="qa",tier="qa",team="dba",datname="app"} 1']


async def test_label_texts_and_unchanged_chunks_are_reused() -> None:
    page = Page()
    await page.land(QA, "sizes", [SIZES.rows([("app", 1, 1)])])
    before = page._landed["qa", "sizes"]
    await page.land(QA, "sizes", [SIZES.rows([("app", 1, 2)])])
    after = page._landed["qa", "sizes"]
    assert after.parts[SIZES][0].texts is before.parts[SIZES][0].texts
    assert after.blocks["custode_size_bytes"][0] is before.blocks["custode_size_bytes"][0]
    assert after.blocks["custode_reads_total"][0] is not before.blocks["custode_reads_total"][0]


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (SIZES.rows([("app", "12", 1)]), TypeError),
        (SIZES.rows([("app", object(), 1)]), TypeError),
        (Family((), (info("clash_info", "X."),)).rows([(1,)]), ValueError),
    ],
)
async def test_a_batch_that_cannot_be_shown_changes_nothing(rows: Rows, error: type[Exception]) -> None:
    page = Page()
    await page.land(PROD, "clash", [Family((), (gauge("clash_info", "X."),)).rows([(1,)])])
    await page.land(QA, "sizes", [SIZES.rows([("app", 1, 1)])])
    before = lines(page)
    with pytest.raises(error):
        await page.land(QA, "sizes", [rows])
    assert lines(page) == before


async def test_a_large_landing_lets_others_run_and_readers_see_the_old_page_meanwhile() -> None:
    page = Page()
    await page.land(QA, "sizes", [SIZES.rows([("app", 1, 1)])])
    before = lines(page)
    seen: list[list[str]] = []

    async def read() -> None:
        while True:
            seen.append(lines(page))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        reader = group.create_task(read())
        await page.land(QA, "sizes", [SIZES.rows([(f"db{n}", n, n) for n in range(10_000)])])
        reader.cancel()
    assert len(seen) > 30
    assert all(page == before for page in seen)
    assert len(lines(page)) == 20_004
