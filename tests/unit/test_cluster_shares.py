"""Fair shares, as a table and as a property: nothing lost, few moves, all daemons come to the same answer."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.cluster import fair_shares

ALL = ["e1", "e2", "e3", "e4"]


@pytest.mark.parametrize(
    ("wanted", "held", "shares"),
    [
        pytest.param({}, {}, {}, id="nobody"),
        pytest.param({"a": []}, {"e1": "a"}, {}, id="nothing is wanted"),
        pytest.param({"a": ALL}, {}, dict.fromkeys(ALL, "a"), id="alone"),
        pytest.param({"a": ALL}, {"e1": "b"}, dict.fromkeys(ALL, "a"), id="of one who is dead"),
        pytest.param(
            {"a": ALL, "b": ALL},
            dict.fromkeys(ALL, "a"),
            {"e1": "a", "e2": "a", "e3": "b", "e4": "b"},
            id="half of it for one who comes",
        ),
        pytest.param(
            {"a": ALL, "b": ALL, "c": ALL},
            {"e1": "a", "e2": "a", "e3": "b", "e4": "b"},
            {"e1": "a", "e2": "c", "e3": "b", "e4": "b"},
            id="one for the third",
        ),
        pytest.param(
            {"a": ALL, "b": ALL},
            {"e1": "a", "e2": "a", "e3": "b"},
            {"e1": "a", "e2": "a", "e3": "b", "e4": "b"},
            id="what is free goes to who has less",
        ),
        pytest.param(
            {"a": ["e1", "e2"], "b": ["e3"]}, {}, {"e1": "a", "e2": "a", "e3": "b"}, id="to who wants it"
        ),
        pytest.param(
            {"a": ALL, "b": ["e1"]},
            dict.fromkeys(ALL, "a"),
            {"e1": "b", "e2": "a", "e3": "a", "e4": "a"},
            id="only what the other wants can move",
        ),
        pytest.param({"a": ["e1"], "b": []}, {"e1": "b"}, {"e1": "a"}, id="no longer wanted by its holder"),
        pytest.param({"a": ["e1"], "b": ["e1"]}, {"e1": "b"}, {"e1": "b"}, id="who has it keeps it"),
    ],
)  # fmt: skip
def test_table(wanted: dict[str, list[str]], held: dict[str, str], shares: dict[str, str]) -> None:
    assert fair_shares(wanted, held) == shares


names = st.integers(0, 25).map(lambda number: f"e{number:02}")
members = st.sampled_from("abcde")
wishes = st.dictionaries(members, st.frozensets(names), max_size=5)


@given(wishes, st.dictionaries(names, st.sampled_from("abcdez")))
def test_no_environment_is_lost_and_nothing_moves_twice(
    wanted: dict[str, frozenset[str]], held: dict[str, str]
) -> None:
    shares = fair_shares(wanted, held)
    assert shares.keys() == frozenset().union(*wanted.values())
    assert all(environment in wanted[member] for environment, member in shares.items())
    assert fair_shares(wanted, shares) == shares
    loads = Counter(shares.values())
    # nobody could still take something over to make it more even
    for environment, member in shares.items():
        for other, wishes_of_other in wanted.items():
            assert environment not in wishes_of_other or loads[member] - loads[other] < 2
    reordered = dict(reversed(wanted.items()))
    assert fair_shares(reordered, dict(reversed(held.items()))) == shares


@given(st.frozensets(names), st.frozensets(members, min_size=1), st.data())
def test_where_all_want_the_same_it_is_even_and_only_the_excess_moves(
    environments: frozenset[str], alive: frozenset[str], data: st.DataObject
) -> None:
    held = data.draw(st.fixed_dictionaries(dict.fromkeys(environments, st.sampled_from(sorted(alive)))))
    shares = fair_shares(dict.fromkeys(alive, environments), held)
    loads, before = Counter(shares.values()), Counter(held.values())
    assert max((loads[member] for member in alive), default=0) - min(loads[member] for member in alive) <= 1
    moved = sum(shares[environment] != held[environment] for environment in environments)
    assert moved == sum(max(0, before[member] - loads[member]) for member in alive)
    fewest = sum(max(0, before[member] - -(-len(environments) // len(alive))) for member in alive)
    lacking = sum(max(0, len(environments) // len(alive) - before[member]) for member in alive)
    assert moved == max(fewest, lacking)
