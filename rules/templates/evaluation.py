"""Pipelines, commands and their operands as closures (the evaluating half of text/template/exec.go).

A closure sets `state.node` to what it is at, since Go's errors name the node that was visited last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rules.strconv import INT64_MAX
from rules.templates.functions import FUNCTIONS, Function
from rules.templates.nodes import (
    UNBOUND,
    Bool,
    Chain,
    Command,
    Dot,
    Field,
    Identifier,
    Nil,
    Node,
    Number,
    Operand,
    Pipe,
    String,
    Variable,
)
from rules.templates.state import UNSET, State, Unset
from rules.templates.times import method
from rules.templates.values import (
    NILABLE,
    Arguments,
    Data,
    ExpansionError,
    Sample,
    Value,
    nil_of,
    truth,
    type_name,
    validated,
)

Evaluate = Callable[[State, Value], Value]  # of the state and the dot
Step = Callable[[State, Value, Value], Value]  # and of the value piped in, which the first command ignores


def pipeline(pipe: Pipe) -> Evaluate:
    """The value of a pipeline, after setting its variables."""
    first, *rest = (command(one, piped=place > 0) for place, one in enumerate(pipe.commands))
    slots = [variable.slot for variable in pipe.variables]

    def single(state: State, dot: Value) -> Value:
        state.node = pipe
        return first(state, dot, None)

    def several(state: State, dot: Value) -> Value:
        state.node = pipe
        value = first(state, dot, None)
        for step in rest:
            value = step(state, dot, value)
        return value

    evaluate = several if rest else single
    if not slots:
        return evaluate

    def declaring(state: State, dot: Value) -> Value:
        value = evaluate(state, dot)
        for slot, variable in zip(slots, pipe.variables, strict=True):
            set_variable(state, slot, variable, value)
        return value

    return declaring


def set_variable(state: State, slot: int, variable: Variable, value: Value) -> None:
    if slot == UNBOUND:
        raise ExpansionError(f"undefined variable: {variable.names[0]}")
    state.frame[slot] = value


def command(node: Command, *, piped: bool) -> Step:
    word, *arguments = node.words
    if isinstance(word, Identifier):
        return _call(word, node, arguments, piped=piped)
    if isinstance(word, (Field, Variable, Chain)) and (len(word.names) > isinstance(word, Variable)):
        return _access(word, arguments, piped=piped)
    if arguments or piped:
        return _refusal(word, f"can't give argument to non-function {node.words[0]}", stay=isinstance(word, Pipe))
    if isinstance(word, Nil):
        return _refusal(word, "nil is not a command")
    evaluate = _operand(word)
    return lambda state, dot, _: evaluate(state, dot)


def _refusal(node: Node, message: str, *, stay: bool = False) -> Step:
    def refuse(state: State, _: Value, __: Value) -> Value:
        if not stay:
            state.node = node
        raise ExpansionError(message)

    return refuse


def _operand(node: Operand) -> Evaluate:
    """An operand as a value of whatever type."""
    if isinstance(node, Pipe):
        return pipeline(node)
    if isinstance(node, Identifier):
        step = _call(node, node, (), piped=False)
        return lambda state, dot: step(state, dot, None)
    if isinstance(node, Variable) and len(node.names) == 1:
        return _variable(node)
    if isinstance(node, (Field, Variable, Chain)):
        access = _access(node, (), piped=False)
        return lambda state, dot: access(state, dot, None)
    if isinstance(node, Dot):
        return _dot(node)
    return _constant(node)


def _dot(node: Dot) -> Evaluate:
    def dot_value(state: State, dot: Value) -> Value:
        state.node = node
        return dot

    return dot_value


def _constant(node: Bool | Number | String | Nil) -> Evaluate:
    value = None if isinstance(node, Nil) else node.value
    huge = isinstance(value, int) and not isinstance(value, bool) and value > INT64_MAX

    def constant(state: State, _: Value) -> Value:
        state.node = node
        if huge:
            raise ExpansionError(f"{node} overflows int")
        return value

    return constant


def _variable(node: Variable) -> Evaluate:
    slot = node.slot

    def variable(state: State, _: Value) -> Value:
        state.node = node
        value = UNSET if slot == UNBOUND else state.frame[slot]
        if isinstance(value, Unset):
            raise ExpansionError(f"undefined variable: {node.names[0]}")
        return value

    return variable


def _access(node: Field | Variable | Chain, arguments: Sequence[Operand], *, piped: bool) -> Step:
    """Fields of the dot, of a variable or of a pipeline's value; the last may be a method with arguments."""
    if isinstance(node, Variable):
        origin, names = _variable(node), node.names[1:]
    elif isinstance(node, Chain):
        origin, names = _chained(node), node.names
    else:
        origin, names = _here, node.names
    *path, last = names

    def access(state: State, dot: Value, piped_value: Value) -> Value:
        state.node = node
        receiver = origin(state, dot)
        state.spend(len(path))
        for name, following in zip(path, names[1:], strict=True):
            boxed = isinstance(receiver, Arguments)
            receiver = _field(state, dot, receiver, name, node)
            if boxed and receiver is None:
                raise ExpansionError(f"nil pointer evaluating interface {{}}.{following}")
        if type(receiver) is dict and not arguments and not piped:
            return receiver.get(last, "")
        final = (piped_value,) if piped else ()
        return _field(state, dot, receiver, last, node, arguments=arguments, final=final)

    return access


def _here(_: State, dot: Value) -> Value:
    return dot


def _chained(node: Chain) -> Evaluate:
    if not isinstance(node.origin, Nil):
        return argument(node.origin, "any")

    def refuse(_: State, __: Value) -> Value:
        raise ExpansionError(f"indirection through explicit nil in {node}")

    return refuse


def _field(
    state: State,
    dot: Value,
    receiver: Value,
    name: str,
    node: Node,
    *,
    arguments: Sequence[Operand] = (),
    final: tuple[Value, ...] = (),
) -> Value:
    """One field, map element or method of a value."""
    if receiver is None:
        return None
    if isinstance(receiver, dict):
        if arguments or final:
            raise ExpansionError(f"{name} is not a method but has arguments")
        return receiver.get(name, None if isinstance(receiver, Arguments) else "")
    if isinstance(receiver, (Data, Sample)) and name in receiver.FIELDS:
        if arguments or final:
            raise ExpansionError(f"{name} has arguments but cannot be invoked as function")
        return getattr(receiver, receiver.FIELDS[name])
    found = method(receiver, name)
    if found is None:
        raise ExpansionError(f"can't evaluate field {name} in type {type_name(receiver)}")
    wanted, given = found.wanted, len(arguments) + len(final)
    if given != len(wanted):
        raise ExpansionError(f"wrong number of args for {name}: want {len(wanted)} got {given}")
    values = [argument(one, wanted[place])(state, dot) for place, one in enumerate(arguments)]
    values += [validated(value, wanted[-1]) for value in final]
    return _run(state, found.call, (receiver, *values), node, name)


def _run(state: State, call: Callable[..., Value], values: Sequence[Value], node: Node, name: str) -> Value:
    for value in values:
        if isinstance(value, str):
            state.spend_on(value)
    state.spend(len(values) + 1)
    try:
        result = call(*values)
    except ExpansionError as failure:
        state.node = node
        raise ExpansionError(f"error calling {name}: {failure}") from failure
    if isinstance(result, str):
        state.spend_on(result)
    return result


def _call(word: Identifier, node: Node, arguments: Sequence[Operand], *, piped: bool) -> Step:
    """A function; `node` is what an error of it names."""
    name, function = word.name, FUNCTIONS[word.name]
    message = _wrong_count(name, function, len(arguments), piped=piped)
    if message is not None:
        return _refusal(word, message)
    evaluations = [argument(one, function.type_of(place)) for place, one in enumerate(arguments)]
    last = function.type_of(len(arguments))
    if name in {"and", "or"}:
        return _short_circuit(word, evaluations, stop=name == "or", piped=piped)
    call, stateful = function.call, function.stateful

    def run(state: State, dot: Value, piped_value: Value) -> Value:
        state.node = word
        values = [evaluate(state, dot) for evaluate in evaluations]
        if piped:
            values.append(piped_value if last == "any" else validated(piped_value, last))
        return _run(state, call, (state, *values) if stateful else values, node, name)

    return run


def _wrong_count(name: str, function: Function, given: int, *, piped: bool) -> str | None:
    fixed = len(function.wanted)
    if function.more is not None:
        return f"wrong number of args for {name}: want at least {fixed} got {given}" if given + piped < fixed else None
    return None if given + piped == fixed else f"wrong number of args for {name}: want {fixed} got {given + piped}"


def _short_circuit(word: Identifier, evaluations: Sequence[Evaluate], *, stop: bool, piped: bool) -> Step:
    def run(state: State, dot: Value, piped_value: Value) -> Value:
        state.node = word
        state.spend(len(evaluations))
        value: Value = None
        for evaluate in evaluations:
            value = evaluate(state, dot)
            if truth(value) == stop:
                return value
        return piped_value if piped else value

    return run


def argument(node: Operand, wanted: str) -> Evaluate:
    """An operand as an argument of a Go type."""
    if isinstance(node, (Bool, Number, String, Nil)):
        return _literal(node, wanted)
    evaluate = _operand(node)
    if wanted == "any":
        return evaluate
    return lambda state, dot: validated(evaluate(state, dot), wanted)


def _literal(node: Bool | Number | String | Nil, wanted: str) -> Evaluate:
    if wanted == "any" or (wanted == "string" and isinstance(node, String)):
        return _constant(node)
    if isinstance(node, Nil):
        message = f"cannot assign nil to {wanted}"
        value = nil_of(wanted)
        return (lambda _, __: value) if wanted in NILABLE else _refused(node, message)
    if wanted in {"int", "time.Duration"}:
        whole = node.whole if isinstance(node, Number) else None
        return (lambda _, __: whole) if whole is not None else _refused(node, f"expected integer; found {node}")
    if wanted == "string":
        return _refused(node, f"expected string; found {node}")
    return _refused(node, f"can't handle {node} for arg of type {wanted}")


def _refused(node: Node, message: str) -> Evaluate:
    refuse = _refusal(node, message)
    return lambda state, dot: refuse(state, dot, None)
