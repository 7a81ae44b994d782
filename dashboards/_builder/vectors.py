"""Vector indexes: do searches find what is nearest, how fast, and is a rebuild due?"""

from __future__ import annotations

from dashboards._builder.frame import ENVIRONMENTS, dashboard, variable
from dashboards._builder.panels import Column, Json, Query, bottom, ranking, row, series, stat, table, top

_INDEX = "environment, datname, schemaname, relname, indexrelname"
_CHOSEN = '$ENV,indexrelname=~"$index"'
_LEGEND = "{{environment}}: {{indexrelname}}"
_METHOD = f"on ({_INDEX}) group_left (method) max by ({_INDEX}, method) (custode_vector_index_info{{{_CHOSEN}}})"


def _max(name: str) -> str:
    return f"max by ({_INDEX}) (custode_vector_index_{name}{{{_CHOSEN}}})"


def build() -> Json:
    index = variable("index", "Index", "label_values(custode_vector_index_info{$ENV}, indexrelname)")
    return dashboard(
        "vectors",
        "vector indexes",
        "pgvector's indexes answer approximately: how many of the nearest rows they find, how fast, what to rebuild.",
        [*_now(), *_searches(), *_builds()],
        variables=(ENVIRONMENTS, index),
    )


def _now() -> list[Json]:
    return [
        stat("Vector indexes", "How many there are.", f"count({_max('rows')})", page="/"),
        stat(
            "Recall is low",
            "Indexes whose recall lies below what is promised, with 95 % certainty.",
            f"""count(
                custode_vector_index_recall_high_ratio{{{_CHOSEN}}} * {_METHOD}
                < on (environment, method) group_left ()
                max by (environment, method) (custode_policy_recall_ratio{{$ENV}})
            ) or vector(0)""",
            steps=((1, "red"),),
        ),
        stat(
            "Built on too few rows",
            "IVFFlat indexes with more lists than there were rows: lists have no meaning until the next build.",
            f"""count(
                custode_vector_index_build_rows{{{_CHOSEN}}} < custode_vector_index_lists{{{_CHOSEN}}}
            ) or vector(0)""",
            steps=((1, "red"),),
        ),
        stat(
            "Older than pgvector",
            "Indexes that were built before pgvector was updated.",
            f"count(custode_vector_index_before_extension{{{_CHOSEN}}} == 1) or vector(0)",
            steps=((1, "yellow"),),
        ),
        stat(
            "New parameters wait",
            "Indexes whose parameters were changed, and that were not built since.",
            f"count(custode_vector_index_parameters_changed{{{_CHOSEN}}} == 1) or vector(0)",
            steps=((1, "yellow"),),
        ),
        stat(
            "Builds under way",
            "Index builds that PostgreSQL reports just now, of any kind of index.",
            "count(custode_index_build_progress_ratio{$ENV}) or vector(0)",
            base="text",
        ),
        table(
            "Indexes",
            "Every vector index. Grown: rows that are new since it was built. Lists and probes are IVFFlat's.",
            {"environment": "Environment", "relname": "Table", "indexrelname": "Index", "method": "Method"},
            *(
                Column(
                    name, f"max by (environment, relname, indexrelname, method) ({expr} * {_METHOD})", unit, steps, base
                )
                for name, expr, unit, steps, base in (
                    (
                        "Recall",
                        f"custode_vector_index_recall_ratio{{{_CHOSEN}}}",
                        "percentunit",
                        ((0.9, "yellow"), (0.95, "green")),
                        "red",
                    ),
                    (
                        "Search",
                        f"custode_vector_index_search_seconds{{{_CHOSEN}}}",
                        "s",
                        ((0.1, "yellow"), (1, "red")),
                        "green",
                    ),
                    ("Probes or ef_search", f"custode_vector_index_search_setting{{{_CHOSEN}}}", "short", (), "green"),
                    ("Rows", f"custode_vector_index_rows{{{_CHOSEN}}}", "short", (), "green"),
                    (
                        "Grown",
                        f"""clamp_min(
                            1 - custode_vector_index_build_rows{{{_CHOSEN}}}
                            / (custode_vector_index_rows{{{_CHOSEN}}} > 0), 0
                        )""",
                        "percentunit",
                        ((0.5, "yellow"), (0.8, "red")),
                        "green",
                    ),
                    ("Lists", f"custode_vector_index_lists{{{_CHOSEN}}}", "short", (), "green"),
                    ("Size", f"custode_vector_index_size_bytes{{{_CHOSEN}}}", "bytes", (), "green"),
                )
            ),
            worst="Rows",
        ),
    ]


def _searches() -> list[Json]:
    return [
        row("Searches"),
        series(
            "Recall",
            "Share of the 10 nearest rows that searches find, by samples. What is promised depends on the method.",
            Query(bottom(_max("recall_ratio")), _LEGEND),
            Query("max by (method) (custode_policy_recall_ratio{$ENV})", "promised to {{method}}"),
            unit="percentunit",
            most=1,
        ),
        series(
            "Recall, lower bound",
            "What the share is at least, with 95 % certainty. Exactly: as the action probe_recall measured it.",
            Query(bottom(_max("recall_low_ratio")), _LEGEND),
            Query(bottom(_max("exact_recall_ratio")), f"{_LEGEND}, exactly"),
            unit="percentunit",
            most=1,
        ),
        series(
            "Time of a search",
            "Median time of the samples' searches, with the way to the server.",
            Query(top(_max("search_seconds")), _LEGEND),
            unit="s",
        ),
        series(
            "Scans",
            "Searches through the index each second, by everybody. None, while there are searches: the planner does "
            "not take it.",
            Query(
                top(
                    f"sum by ({_INDEX}) (rate(custode_index_scans_total{{{_CHOSEN}}}[$__rate_interval]))"
                    f" and {_max('rows')}"
                ),
                _LEGEND,
            ),
            unit="ops",
        ),
        series(
            "Found in memory",
            "Blocks of the index that were in shared buffers. A vector index that does not fit there is slow.",
            Query(
                bottom(f"""sum by ({_INDEX}) (rate(custode_index_blocks_hit_total{{{_CHOSEN}}}[$__rate_interval])) / (
                    sum by ({_INDEX}) (rate(custode_index_blocks_hit_total{{{_CHOSEN}}}[$__rate_interval]))
                    + sum by ({_INDEX}) (rate(custode_index_blocks_read_total{{{_CHOSEN}}}[$__rate_interval])) > 0
                ) and {_max("rows")}"""),
                _LEGEND,
            ),
            unit="percentunit",
            most=1,
        ),
        series(
            "Dead rows of the table",
            "Searches find dead rows too, and throw them away: fewer are left of those asked for.",
            Query(top(_max("dead_ratio")), _LEGEND),
            unit="percentunit",
            steps=((0.2, "red"),),
        ),
    ]


def _builds() -> list[Json]:
    return [
        row("Growth and builds"),
        series(
            "Rows, and rows at the build",
            "IVFFlat keeps the lists of its build: the further the lines part, the worse it searches.",
            Query(top(_max("rows")), _LEGEND),
            Query(top(_max("build_rows")), f"{_LEGEND}, at the build"),
        ),
        series(
            "Size, and size if built now",
            "What the index takes, and what a new one would. Much more than that is bloat.",
            Query(top(_max("size_bytes")), _LEGEND),
            Query(top(_max("expected_size_bytes")), f"{_LEGEND}, if built now"),
            unit="bytes",
        ),
        ranking(
            "Memory that a build needs",
            "Estimated maintenance_work_mem for a build, of what the server allows. Above 100 % an HNSW build is slow.",
            f"""topk(10, {_max("build_memory_bytes")} / on (environment) group_left ()
            max by (environment) (custode_setting{{$ENV,name="maintenance_work_mem"}}))""",
            _LEGEND,
            unit="percentunit",
            steps=((1, "yellow"),),
        ),
        series(
            "Progress of builds",
            "How much of each index build is done. Empty when nothing is built.",
            Query(
                top("max by (environment, relname, indexrelname, phase) (custode_index_build_progress_ratio{$ENV})"),
                "{{environment}}: {{indexrelname}} ({{phase}})",
            ),
            unit="percentunit",
            most=1,
            page="/actions",
        ),
        table(
            "pgvector",
            "Its version in each database. Older than the reference's, or than 0.8.4, wants an update.",
            {"environment": "Environment", "datname": "Database", "version": "Version"},
            Column("Databases", "count by (environment, datname, version) (custode_vector_extension_info{$ENV})"),
        ),
    ]
