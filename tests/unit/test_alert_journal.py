"""The journal of alerts: what is read back after any end of the process, and what damage costs."""

from __future__ import annotations

import json
import math
import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.alerting import FileJournal
from rules import Alert, Labels, Lasting, State

Model = dict[str, dict[Labels, Alert]]


def alert(name: str, *, state: State = State.FIRING, at: float = 10.0, value: float = 1.0) -> Alert:
    labels = Labels({"alertname": name, "text": 'a "quoted"\nline, Ω'})
    sample = Labels({"__name__": "m", "i": name})
    fired_at = at + 1 if state == State.FIRING else None
    return Alert(labels, sample, value, state, active_at=at, fired_at=fired_at, keep_firing_since=at + 2)


def change(name: str, *, rule: str = "rule", over: bool = False, at: float = 10.0) -> Lasting:
    one = alert(name, at=at)
    return Lasting(rule, one.labels, None if over else one)


def known(journal: FileJournal) -> Model:
    """The alerts read back, without rules that have none."""
    return {rule: alerts for rule, alerts in journal.load().rules.items() if alerts}


def model(changes: Sequence[Lasting]) -> Model:
    found: Model = {}
    for one in changes:
        alerts = found.setdefault(one.key, {})
        if one.alert is None:
            alerts.pop(one.labels, None)
        else:
            alerts[one.labels] = one.alert
    return {rule: alerts for rule, alerts in found.items() if alerts}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alerts.jsonl"


def test_nothing_is_remembered_where_there_is_no_file(path: Path) -> None:
    remembered = FileJournal(path).load()
    assert (remembered.at, remembered.rules) == (0.0, {})
    assert not path.exists()
    assert FileJournal(path.parent / "missing" / "alerts.jsonl").load().rules == {}


def test_what_is_appended_is_read_back_by_the_next_process(path: Path) -> None:
    first = FileJournal(path)
    first.append([change("a"), change("b", rule="other")], 20.0)
    first.append([change("a", over=True), change("c")], 30.5)
    second = FileJournal(path)
    remembered = second.load()
    assert remembered.at == 30.5
    assert known(second) == {"rule": {change("c").labels: alert("c")}, "other": {change("b").labels: alert("b")}}
    second.append([change("c", over=True)], 40.0)
    third = FileJournal(path)
    assert third.load().at == 40.0
    assert list(known(third)) == ["other"]


def test_the_last_word_about_an_alert_counts(path: Path) -> None:
    journal = FileJournal(path)
    journal.append([change("a", at=1), change("a", over=True), change("a", at=2)], 5.0)
    journal.append([change("a", at=3)], 6.0)
    ((_, found),) = known(journal)["rule"].items()
    assert found.active_at == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.1 + 0.2, -0.0, 5e-324])
@pytest.mark.parametrize("state", [State.PENDING, State.FIRING, State.RESOLVED])
def test_every_value_and_state_survives(path: Path, value: float, state: State) -> None:
    one = alert("a", state=state, value=value)
    FileJournal(path).append([Lasting("rule", one.labels, one)], 1.0)
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # no NaN, which is no JSON
    found = known(FileJournal(path))["rule"][one.labels]
    assert repr(found) == repr(one)


def test_a_sign_of_life_moves_the_time_only(path: Path) -> None:
    journal = FileJournal(path)
    journal.append([change("a")], 10.0)
    size = path.stat().st_size
    journal.append([], 25.0)
    assert journal.load().at == 25.0
    assert known(journal) == model([change("a")])
    assert path.stat().st_size - size < 20
    journal.append([], 5.0)  # the clock was set back
    assert journal.load().at == 25.0


def test_a_rewrite_leaves_nothing_else(path: Path) -> None:
    journal = FileJournal(path.parent / "new" / "folder" / path.name)
    journal.rewrite([change("a")], 10.0)
    journal.append([change("b")], 20.0)
    journal.rewrite([change("c")], 30.0)
    assert known(journal) == model([change("c")])
    assert journal.load().at == 30.0
    journal.rewrite([], 40.0)
    assert (known(journal), journal.load().at) == ({}, 40.0)


def test_a_rewrite_that_a_crash_cut_short_changes_nothing(path: Path) -> None:
    journal = FileJournal(path)
    journal.append([change("a")], 10.0)
    path.with_suffix(".partial").write_text('{"at":20}\n{"at":20,"ru')
    assert known(FileJournal(path)) == model([change("a")])
    journal.rewrite([change("b")], 20.0)
    assert known(FileJournal(path)) == model([change("b")])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_it_is_long_when_most_lines_are_outdated(path: Path) -> None:
    journal = FileJournal(path)
    many = [change(str(number)) for number in range(100)]
    journal.rewrite(many, 0.0)
    assert not journal.long
    for number in range(1099):
        journal.append([change("0", at=number)], number)
        assert not journal.long
    journal.append([], 1100.0)
    assert journal.long
    journal.rewrite(many, 1101.0)
    assert not journal.long


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xfe\x00\x00",
        b"\x00" * 512,  # what a loss of power leaves in some file systems
        b"{",
        b"null",
        b"5",
        b"[]",
        b'"at"',
        b"{}",
        b'{"at":"soon"}',
        b'{"at":1,"rule":"rule"}',
        b'{"at":1,"rule":"rule","ended":5}',
        b'{"at":1,"rule":"rule","labels":{"a":"b"},"alert":{}}',
        b'{"at":1,"rule":"rule","labels":{"a":"b"},"alert":{"labels":{},"sample":{},"value":"x","state":"firing"}}',
        b'{"at":1,"rule":"rule","labels":{"a":"b"},"alert":{"labels":{},"sample":{},"value":"1","state":"odd"}}',
        b'{"at":1,"rule":"rule","labels":{"a":"b"},"alert":{"labels":{},"sample":{},"value":"1","state":"firing"}}',
        b"[" * 100_000,
    ],
)
def test_garbage_costs_its_own_line_only(path: Path, garbage: bytes) -> None:
    FileJournal(path).append([change("a")], 10.0)
    with path.open("ab") as file:
        file.write(garbage + b"\n")
    FileJournal(path).append([change("b")], 20.0)
    assert known(FileJournal(path)) == model([change("a"), change("b")])
    assert FileJournal(path).load().at == 20.0
    assert garbage in path.with_suffix(".unreadable").read_bytes()  # for a person to look at


def test_of_a_journal_that_is_well_no_copy_is_kept(path: Path) -> None:
    FileJournal(path).append([change("a")], 10.0)
    assert known(FileJournal(path)) == model([change("a")])
    assert not path.with_suffix(".unreadable").exists()


def test_a_torn_line_does_not_swallow_the_next(path: Path) -> None:
    FileJournal(path).append([change("a")], 10.0)
    whole = path.read_bytes()
    FileJournal(path).append([change("b")], 20.0)
    path.write_bytes(path.read_bytes()[: len(whole) + 40])
    after_the_crash = FileJournal(path)
    assert known(after_the_crash) == model([change("a")])
    after_the_crash.append([change("c")], 30.0)
    assert known(FileJournal(path)) == model([change("a"), change("c")])


def test_a_file_that_cannot_be_read_is_no_reason_not_to_start(path: Path) -> None:
    path.mkdir()
    assert FileJournal(path).load().rules == {}


def test_what_cannot_be_written_raises(path: Path) -> None:
    missing = FileJournal(path.parent / "missing" / path.name)
    with pytest.raises(OSError, match="missing"):
        missing.append([change("a")], 1.0)
    path.mkdir()
    for write in (FileJournal(path).append, FileJournal(path).rewrite):
        with pytest.raises(OSError, match=path.name):
            write([change("a")], 1.0)


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """As on a full disk, a write stops in the midst of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 60])
def test_a_full_disk_loses_what_had_no_room_and_nothing_else(path: Path, room: int) -> None:
    journal = FileJournal(path)
    journal.append([change("a")], 10.0)
    size = path.stat().st_size
    with no_file_longer_than(size + room), pytest.raises(OSError, match="too large"):
        journal.append([change("b")], 20.0)
    with no_file_longer_than(size), pytest.raises(OSError, match="too large"):
        journal.rewrite([change("a"), change("b")], 20.0)
    assert known(FileJournal(path)) == model([change("a")])
    journal.append([change("c")], 30.0)
    assert known(FileJournal(path)) == model([change("a"), change("c")])


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
times = st.floats(0, 2e9, allow_nan=False)
alerts = st.builds(
    lambda name, more, state, at, value: Alert(
        Labels({"alertname": name, **more}), Labels(more), value, state, at, resolved_at=at / 2
    ),
    st.sampled_from("abc"),
    st.dictionaries(texts, texts, max_size=2),
    st.sampled_from([State.PENDING, State.FIRING, State.RESOLVED]),
    times,
    st.floats(allow_nan=False),
)
changes_of = st.builds(
    lambda key, one, over: Lasting(key, one.labels, None if over else one), texts, alerts, st.booleans()
)
writes = st.tuples(st.booleans(), st.lists(changes_of, max_size=4))


@settings(max_examples=100, deadline=None)
@given(st.lists(writes, max_size=6), st.lists(changes_of, min_size=1, max_size=4), st.data())
def test_whatever_was_written_is_read_back(
    history: list[tuple[bool, list[Lasting]]], last: list[Lasting], data: st.DataObject
) -> None:
    """Also when the last write was cut short anywhere: then its whole lines count."""
    with tempfile.TemporaryDirectory() as folder:
        path, so_far = Path(folder) / "alerts.jsonl", list[Lasting]()
        journal = FileJournal(path)
        for number, (anew, changes) in enumerate(history):
            if number % 2:  # two writes of a process, and then comes the next
                journal = FileJournal(path)
            if anew:
                kept = {(one.key, one.labels): one for one in changes if one.alert is not None}
                so_far = list(kept.values())
                journal.rewrite(so_far, float(number))
            else:
                so_far += changes
                journal.append(changes, float(number))
            assert known(FileJournal(path)) == model(so_far)
            assert FileJournal(path).load().at == number
        before = path.stat().st_size if path.exists() else 0
        FileJournal(path).append(last, 1000.0)
        whole = path.read_bytes()
        cut = data.draw(st.integers(before, len(whole)), "cut")
        path.write_bytes(whole[:cut])
        lines = whole[before:].split(b"\n")[:-1]
        ends = [before + sum(len(line) + 1 for line in lines[: place + 1]) - 1 for place in range(len(lines))]
        survived = [one for one, end in zip(last, ends, strict=True) if end <= cut]
        assert known(FileJournal(path)) == model([*so_far, *survived])
        FileJournal(path).append(last, 1001.0)
        assert known(FileJournal(path)) == model([*so_far, *survived, *last])
