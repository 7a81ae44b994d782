"""Statements as closures (the walking half of text/template/exec.go), and the programs they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, assert_never

from rules.templates.evaluation import Evaluate, pipeline, set_variable
from rules.templates.nodes import Action, Body, Call, Choice, Jump, Range, Statement, Text, Tree
from rules.templates.printing import text
from rules.templates.state import UNSET, State, Unset
from rules.templates.values import Data, ExpansionError, Pointer, Value, Vector, truth, type_name

Signal = Literal["break", "continue"] | None
Execute = Callable[[State, Value], Signal]


class Program:
    """The trees of one text, ready to run; `name` is the one the text itself is."""

    def __init__(self, trees: Mapping[str, Tree], name: str) -> None:
        self._name = name
        self._parts = {known: (self._body(tree.body), tree.slots) for known, tree in trees.items()}

    def run(self, state: State, name: str, dot: Value) -> None:
        """Executes the template `name`, whose text goes to the state. Raises ExpansionError."""
        execute, slots = self._parts[name]
        frame: list[Value | Unset] = [dot, *_header(dot)] if name == self._name else [dot]
        before = state.enter(name, frame + [UNSET] * (slots - len(frame)))
        execute(state, dot)
        state.leave(before)

    def _body(self, body: Body) -> Execute:
        statements = [self._statement(statement) for statement in body]
        cost = len(statements) + 1

        def execute(state: State, dot: Value) -> Signal:
            state.spend(cost)
            for statement in statements:
                signal = statement(state, dot)
                if signal is not None:
                    return signal
            return None

        return execute

    def _statement(self, statement: Statement) -> Execute:
        match statement:
            case Text():
                value = statement.value
                return lambda state, _: state.write(value)
            case Action():
                return self._action(statement)
            case Choice():
                return self._choice(statement)
            case Range():
                return self._range(statement)
            case Call():
                return self._call(statement)
            case Jump():
                signal: Signal = "break" if statement.leaves else "continue"
                return lambda _, __: signal
            case _:
                assert_never(statement)

    def _action(self, action: Action) -> Execute:
        evaluate = pipeline(action.pipe)

        def show(state: State, dot: Value) -> None:
            value = evaluate(state, dot)
            state.write(value if type(value) is str else text(value))

        def assign(state: State, dot: Value) -> None:
            evaluate(state, dot)

        return assign if action.pipe.variables else show

    def _choice(self, choice: Choice) -> Execute:
        arms = [(pipeline(pipe), self._body(body)) for pipe, body in choice.arms]
        otherwise, moves = self._body(choice.otherwise), choice.moves

        def choose(state: State, dot: Value) -> Signal:
            for condition, body in arms:
                state.spend(1)
                value = condition(state, dot)
                if truth(value):
                    return body(state, value if moves else dot)
            return otherwise(state, dot)

        return choose

    def _range(self, node: Range) -> Execute:
        evaluate, body, otherwise = pipeline(node.pipe), self._body(node.body), self._body(node.otherwise)
        variables = node.pipe.variables

        def repeat(state: State, dot: Value) -> Signal:
            some, value = False, evaluate(state, dot)
            if isinstance(value, dict):
                state.spend(len(value))
            for key, element in _items(value, len(variables)):
                some = True
                for variable, one in zip(variables, (key, element)[-len(variables) :], strict=False):
                    set_variable(state, variable.slot, variable, one)
                if body(state, element) == "break":
                    break
            return None if some else otherwise(state, dot)

        return repeat

    def _call(self, call: Call) -> Execute:
        evaluate: Evaluate = pipeline(call.pipe) if call.pipe else lambda _, __: None

        def run(state: State, dot: Value) -> None:
            state.node = call
            if call.name not in self._parts:
                raise ExpansionError(f'template "{call.name}" not defined')
            self.run(state, call.name, evaluate(state, dot))

        return run


def _header(dot: Value) -> tuple[Value, ...]:
    """The variables that the header declares."""
    if isinstance(dot, Data):
        return dot.labels, dot.external_labels, dot.external_url, dot.value
    if dot is None:
        return None, None, None, None
    raise ExpansionError(f"can't evaluate field Labels in type {type_name(dot)}")


def _items(value: Value, variables: int) -> Iterable[tuple[Value, Value]]:
    """What a range goes through: keys and elements."""
    if value is None:
        return ()
    if isinstance(value, dict):
        return [(key, value[key]) for key in sorted(value)]
    if isinstance(value, Vector):
        return enumerate(value)
    count = value.target if isinstance(value, Pointer) else value
    if not isinstance(count, int) or isinstance(count, bool):
        raise ExpansionError(f"range can't iterate over {text(value)}")
    if variables > 1:
        raise ExpansionError(f"can't use {text(value)} to iterate over more than one variable")
    kind = type(count)
    return ((None, kind(number)) for number in range(count))
