"""The sample store against the simplest thing that could be right: a list of batches, searched from end to end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from rules import LOOKBACK, Labels, Query, SampleStore
from rules.labels import NAME

FLOOR, WINDOW = 1000.0, 200.0
SOURCES = ("x", "y")
NAMES = ("m", "n")
SETS = [(name, letter) for name in NAMES for letter in "abc"]
Sample = tuple[str, str]  # metric and label
Said = dict[Sample, float]


@dataclass(slots=True)
class Model:
    """What each source said, and when."""

    said: dict[str, list[tuple[float, Said]]] = field(default_factory=lambda: {source: [] for source in SOURCES})

    def land(self, source: str, time: float, batch: Said) -> None:
        kept = [(at, said) for at, said in self.said[source] if at < time]
        self.said[source] = [*kept, (time, batch)]

    def samples(self, name: str, start: float, end: float) -> dict[Labels, list[tuple[float, float]]]:
        """Of each series the samples with start < time <= end, oldest first."""
        found: dict[Labels, dict[float, float]] = {}
        for source, batches in self.said.items():
            for time, said in batches:
                for (metric, letter), value in said.items():
                    if metric == name and start < time <= end:
                        found.setdefault(labels_of(source, (metric, letter)), {})[time] = value
        return {labels: sorted(samples.items()) for labels, samples in found.items()}

    def instant(self, name: str, at: float) -> dict[Labels, float]:
        newest: dict[Labels, tuple[float, float]] = {}
        for source, batches in self.said.items():
            before = [(time, said) for time, said in batches if time <= at]
            if not before or at - before[-1][0] >= LOOKBACK:
                continue
            time, said = before[-1]
            for sample, value in said.items():
                labels = labels_of(source, sample)
                if sample[0] == name and (labels not in newest or newest[labels][0] < time):
                    newest[labels] = time, value
        return {labels: value for labels, (_, value) in newest.items()}


def labels_of(source: str, sample: Sample) -> Labels:
    """The series "c" is told by both sources, the others by one."""
    name, letter = sample
    return Labels({NAME: name, "i": letter, "source": "" if letter == "c" else source})


numbers = st.floats(allow_nan=False, width=32)
batches = st.dictionaries(st.sampled_from(SETS), numbers, max_size=6)
steps: st.SearchStrategy[tuple[str, str, int, Said]] = st.one_of(
    st.tuples(st.just("land"), st.sampled_from(SOURCES), st.sampled_from([-90, 1, 15, 15, 100, 250]), batches),
    st.tuples(st.just("again"), st.sampled_from(SOURCES), st.just(15), st.just({})),
    st.tuples(st.just("drop"), st.sampled_from(SOURCES), st.just(0), st.just({})),
    st.tuples(st.just("expire"), st.just(""), st.just(700), st.just({})),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=30))
def test_any_batches_answer_as_the_model_does(history: list[tuple[str, str, int, Said]]) -> None:
    store, model = SampleStore(floor=FLOOR), Model()
    instant = {name: Query.compile(name) for name in NAMES}  # kept, as rules keep theirs
    ranged = {name: Query.compile(f"{name}[{WINDOW:g}s]") for name in NAMES}
    now = newest = 10_000.0
    for what, source, step, drawn in history:
        now = max(now + step, newest - 100)
        newest = max(newest, now)
        # of several sources that tell the same series at the same time any may be right
        time = now + SOURCES.index(source) / 1000 if source else now
        before = model.said[source][-1:] if what == "again" else []
        batch = {sample: value + 1 for sample, value in before[0][1].items()} if before else drawn
        match what:
            case "land" | "again":
                model.land(source, time, batch)
                store.land(source, time, [(labels_of(source, sample), value) for sample, value in batch.items()])
            case "drop":
                model.said[source] = []
                store.drop(source)
            case _:
                store.expire(now)
        for at in (now + 0.5, now - 50):
            for name in NAMES:
                assert dict(instant[name].evaluate(store, at)) == model.instant(name, at)
                answer = ranged[name].instant(store, at).matrix
                found = {labels: list(zip(times, values, strict=True)) for labels, times, values in answer}
                assert found == model.samples(name, at - WINDOW, at)
        blocks = [block for name in store.names() if (metric := store.metric(name)) for block in metric.blocks.values()]
        assert store.cells == sum(block.cells for block in blocks)
        assert store.series == sum(len(block.labels) for block in blocks)
        assert all(math.isfinite(block.newest) for block in blocks)
