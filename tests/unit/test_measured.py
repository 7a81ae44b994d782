"""What actions have measured, as metrics: whose figures count, and how they are called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry, generate_latest

from actions import Action, Measure, Plan
from daemon.actions import ActionEvent, Run, RunState, Source
from daemon.actions.events import Happened
from daemon.actions.measured import Measured
from daemon.actions.request import Result
from daemon.telemetry import Telemetry
from tests.integration.scripted import Scripted

INDEX = {"datname": "app", "schemaname": "public", "relname": "chunks", "indexrelname": "by_vector", "oid": 7}


class Measuring(Scripted):
    name: ClassVar[str] = "measuring"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("index_depth_ratio", "How deep it is.", "depth_ratio"),)


def run(**changes: Any) -> Run:
    first = Run(
        id="a1",
        key="k",
        source=Source.PERSON,
        environment="qa",
        action="measuring",
        object="",
        parameters={},
        requested_by="ada",
        requested_at=1.0,
        reason="",
        alert=None,
        state=RunState.ENDED,
        plan=Plan("it", ("step",), objects=(INDEX,)),
        result=Result.FIXED,
        after={"depth_ratio": 0.5, "queries": 10},
        ended_at=100.0,
    )
    return replace(first, **changes)


def ended(**changes: Any) -> ActionEvent:
    one = run(**changes)
    return ActionEvent(Happened.DONE, one, 100.0, result=one.result)


def shown(measured: Measured) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(measured)
    page = generate_latest(registry).decode()
    lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {name.partition("{")[0]: float(value) for name, _, value in lines}


def make() -> Measured:
    kinds: dict[str, type[Action[Any]]] = {"measuring": Measuring, "scripted": Scripted}
    return Measured(kinds)


def test_the_figures_of_a_run_stay_until_the_next_one() -> None:
    measured = make()
    assert shown(measured) == {}
    measured.note(ended())
    known = {"custode_index_depth_ratio": 0.5, "custode_measuring_measured_timestamp_seconds": 100.0}
    assert shown(measured) == known
    measured.note(ended(result=Result.NOT_FIXED, after={"depth_ratio": 0.25}, ended_at=200.0))
    assert shown(measured) == {
        "custode_index_depth_ratio": 0.25,
        "custode_measuring_measured_timestamp_seconds": 200.0,
    }


def test_what_measured_nothing_changes_nothing() -> None:
    measured = make()
    measured.note(ended())
    before = shown(measured)
    measured.note(ended(after=None, result=Result.FAILED, ended_at=300.0))
    measured.note(ended(after={"other": 1.0}, ended_at=300.0))
    measured.note(ended(after={"depth_ratio": "deep"}, ended_at=300.0))
    measured.note(ended(action="scripted", after={"depth_ratio": 0.9}, ended_at=300.0))
    measured.note(ended(plan=None, after={"depth_ratio": 0.9}, ended_at=300.0))
    measured.note(ended(after={"depth_ratio": 0.9}, ended_at=50.0))  # an older one that is heard of late
    measured.note(ActionEvent(Happened.STEP, run(after={"depth_ratio": 0.9}, ended_at=None), 300.0))
    assert shown(measured) == before


def test_each_index_of_each_environment_has_its_own() -> None:
    measured = make()
    other = Plan("it", ("step",), objects=({**INDEX, "indexrelname": "other"},))
    for event in (ended(), ended(environment="production"), ended(plan=other, after={"depth_ratio": 0.1})):
        measured.note(event)
    (family, _) = measured.collect()
    labels = ("environment", "datname", "schemaname", "relname", "indexrelname")
    assert {tuple(sample.labels[name] for name in labels): sample.value for sample in family.samples} == {
        ("qa", "app", "public", "chunks", "by_vector"): 0.5,
        ("production", "app", "public", "chunks", "by_vector"): 0.5,
        ("qa", "app", "public", "chunks", "other"): 0.1,
    }


def test_the_daemon_tells_of_what_its_actions_measure_and_its_rules_can_read_it() -> None:
    telemetry = Telemetry()
    names = {family.name for family in telemetry.registry.collect()}
    assert {"custode_vector_index_exact_recall_ratio", "custode_probe_recall_measured_timestamp_seconds"} <= names
    telemetry.measured.note(ended(action="probe_recall", after={"recall_ratio": 0.93}))
    known = {labels.name: value for labels, value in telemetry.samples()}
    assert known["custode_vector_index_exact_recall_ratio"] == 0.93
    page = telemetry.render(openmetrics=True).decode()
    assert 'custode_vector_index_exact_recall_ratio{datname="app",environment="qa"' in page
