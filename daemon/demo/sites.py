"""The four environments of the demonstration: names as in the guide, sizes, revisions and what is wrong with each."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.demo import faults, schema


@dataclass(frozen=True, slots=True)
class Site:
    """One environment. `share` is its part of the knowledge base's rows, `index_rows` how many of them existed when
    the IVFFlat index was built (None: all)."""

    name: str
    database: str
    share: float
    revision: str = schema.DEPLOYED
    index_rows: int | None = None
    people: bool = False
    faults: tuple[faults.Fault, ...] = ()


SITES: tuple[Site, ...] = (
    # the largest first: its loading is the longest
    Site("production", "pratikoai_prod", 1.0, people=True, faults=(faults.let_ops_write,)),
    Site("preprod", "pratikoai_preprod", 1.0, faults=(faults.exercise_prefix_search, faults.fail_unique_index)),
    Site(
        "qa",
        "pratikoai_qa",
        0.5,
        revision=schema.PREVIOUS,
        index_rows=40,
        faults=(faults.exercise_prefix_search, faults.add_column_by_hand),
    ),
    Site("development", "aifinance", 0.1, faults=(faults.exercise_prefix_search,)),
)
