"""Reads unit-test files strictly: unknown fields, wrong types and bad notations are problems with their lines."""

from __future__ import annotations

import glob
import re
from datetime import UTC, datetime
from pathlib import Path

from rules.errors import Problem, RuleFileError
from rules.files.documents import MAX_BYTES, DocumentError, Node, compose
from rules.files.fields import FieldReader
from rules.labels import Labels
from rules.unittests.notation import NotationError, parse_series, parse_values
from rules.unittests.suite import AlertCase, ExpectedAlert, ExpectedSample, ExprCase, InputSeries, Scenario, Suite

_SUITE_FIELDS = ("rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests")
_SCENARIO_FIELDS = ("name", "interval", "input_series", "alert_rule_test", "promql_expr_test", "external_labels",
                    "external_url", "start_timestamp")  # fmt: skip
_UNIX = re.compile(r"[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?", re.ASCII)


def read_suite(path: Path) -> Suite:
    """Raises RuleFileError, with every problem of the file."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            root = compose(stream.read(MAX_BYTES + 1)).root
    except OSError as error:
        raise RuleFileError([Problem(file, 1, f"cannot be read: {error.strerror or error}")]) from error
    except DocumentError as error:
        raise RuleFileError([Problem(file, error.line, error.message)]) from error
    reader = _SuiteReader(path)
    suite = reader.suite(root)
    if reader.problems:
        raise RuleFileError(reader.problems)
    return suite


class _SuiteReader(FieldReader):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._folder = path.parent

    def suite(self, root: Node | None) -> Suite:
        fields = self.fields(root, "unit-test file", _SUITE_FIELDS)
        interval = self.duration(fields.get("evaluation_interval")) or 60.0
        files, missing = self._rule_files(fields.get("rule_files"))
        order: dict[str, None] = {}
        for node in self.items(fields.get("group_eval_order"), "group name"):
            name = self.text(node)
            if name in order:
                self.problem(node, f"group name repeated in evaluation order: {name}")
            order[name] = None
        tests = self.items(fields.get("tests"), "test")
        scenarios = tuple(self._scenario(node, place, interval) for place, node in enumerate(tests))
        fuzzy = self.flag(fields.get("fuzzy_compare"))
        return Suite(self.file, files, missing, interval, tuple(order), fuzzy, scenarios)

    def _rule_files(self, node: Node | None) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        files: dict[Path, None] = {}
        missing = []
        for item in self.items(node, "path"):
            pattern = self.text(item)
            if pattern.count("[") > pattern.count("]"):
                self.problem(item, f"syntax error in pattern {pattern}")
                continue
            whole = str(self._folder / pattern) if pattern else ""
            found = sorted(glob.glob(whole)) if pattern else []  # noqa: PTH207 - a pattern may lead anywhere
            files.update(dict.fromkeys(map(Path, found)))
            if not found:
                missing.append(whole)
        return tuple(files), tuple(missing)

    def _scenario(self, node: Node, place: int, evaluation_interval: float) -> Scenario:
        self.where = ""
        fields = self.fields(node, "test", _SCENARIO_FIELDS)
        name = self.text(fields.get("name")) or f"unnamed#{place}"
        self.where = f'test "{name}": '
        inputs = self.items(fields.get("input_series"), "series")
        series = tuple(self._series(item, last=item is inputs[-1]) for item in inputs)
        alerts = tuple(self._alert_case(item) for item in self.items(fields.get("alert_rule_test"), "test"))
        exprs = tuple(self._expr_case(item) for item in self.items(fields.get("promql_expr_test"), "test"))
        scenario = Scenario(
            name=name,
            line=node.line,
            interval=self.duration(fields.get("interval")) or evaluation_interval,
            start=self._start(fields.get("start_timestamp")),
            series=series,
            alerts=alerts,
            exprs=exprs,
            external_labels=self._plain_texts(fields.get("external_labels")),
            external_url=self.text(fields.get("external_url")),
        )
        self.where = ""
        return scenario

    def _series(self, node: Node, *, last: bool) -> InputSeries:
        fields = self.fields(node, "series", ("series", "values"))
        labels = self._labels(fields.get("series"), node)
        if not labels.pairs and not self.problems:
            self.problem(node, "a series needs a name or a label")
        at, text = fields.get("values", node), self.text(fields.get("values"))
        if "\n" in (text.removesuffix("\n") if last else text):
            # promtool makes a script of all series, a line each, and ends it at an empty line
            self.problem(at, "line breaks are not allowed in values: promtool would lose what follows; write >- or |-")
        try:
            return InputSeries(labels, parse_values(text))
        except NotationError as error:
            self.problem(at, str(error))
            return InputSeries(labels, ())

    def _labels(self, node: Node | None, at: Node) -> Labels:
        text = self.text(node)
        try:
            return parse_series(text)
        except NotationError as error:
            self.problem(node or at, str(error))
            return Labels()

    def _alert_case(self, node: Node) -> AlertCase:
        fields = self.fields(node, "test", ("eval_time", "alertname", "exp_alerts"))
        eval_time, name = self.duration(fields.get("eval_time")), self.text(fields.get("alertname"))
        if not name:
            self.problem(node, "an item under alert_rule_test misses required attribute alertname")
        expected = []
        for item in self.items(fields.get("exp_alerts"), "alert"):
            alert = self.fields(item, "alert", ("exp_labels", "exp_annotations"))
            labels, annotations = (self._plain_texts(alert.get(key)) for key in ("exp_labels", "exp_annotations"))
            expected.append(ExpectedAlert(labels, annotations))
        return AlertCase(node.line, eval_time, name, tuple(expected))

    def _expr_case(self, node: Node) -> ExprCase:
        fields = self.fields(node, "test", ("expr", "eval_time", "exp_samples"))
        eval_time, expr = self.duration(fields.get("eval_time")), self.text(fields.get("expr"))
        expected = []
        for item in self.items(fields.get("exp_samples"), "sample"):
            sample = self.fields(item, "sample", ("labels", "value", "histogram"))
            if self.text(sample.get("histogram")):
                self.problem(item, "native histograms are not supported: no environment has any")
            labels = self._labels(sample.get("labels"), item) if self.text(sample.get("labels")).strip() else Labels()
            expected.append(ExpectedSample(labels, self.number(sample.get("value"))))
        return ExprCase(node.line, eval_time, expr, tuple(expected))

    def _plain_texts(self, node: Node | None) -> dict[str, str]:
        return {name: text for name, (text, _) in self.texts(node).items()}

    def _start(self, node: Node | None) -> float:
        """Unix seconds, from such or from RFC 3339."""
        text = self.text(node)
        if node is None or not text:
            return 0.0
        if _UNIX.fullmatch(text):
            return round(float(text), 3)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.problem(node, f'cannot parse "{text}" to a valid timestamp')
            return 0.0
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
