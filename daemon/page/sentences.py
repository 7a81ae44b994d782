"""Entries of the ledger as sentences. What an entry holds that no sentence tells is added as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from daemon.actions.views import LedgerView
from daemon.page.figures import figures_line
from daemon.page.format import duration, moment

Facts = Mapping[str, Any]
_LONGEST = 600  # characters of what is added


def sentence(entry: LedgerView) -> str:
    """One entry in plain words, as a text that may hold anything."""
    tell = _TELL.get(entry.entry)
    if tell is None:
        return _rest(entry.facts)
    facts = _Read(entry.facts)
    said = tell(facts)
    return ". ".join(part for part in (said, _rest(facts.unread())) if part)


class _Read:
    """Facts, and which of them were asked for."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self._asked.add(name)
        found = self._facts.get(name)
        return default if found in (None, "", [], {}) else found

    def skip(self, *names: str) -> None:
        self._asked.update(names)

    def unread(self) -> Facts:
        return {name: value for name, value in self._facts.items() if name not in self._asked}


def _requested(facts: _Read) -> str:
    facts.skip("key", "source")
    why = facts.get("reason", "")
    if facts.get("decision") == "refused":
        return f"asked for it and was refused: {why}"
    said = f"asked for by {facts.get('requested_by', 'somebody')}" + (f": {why}" if why else "")
    with_ = facts.get("parameters", {})
    facts.skip("alert")
    return said + (f" (with {_pairs(with_)})" if with_ else "")


def _guard(facts: _Read) -> str:
    decision, reason = facts.get("decision"), facts.get("reason", "")
    facts.skip("ground", "key")
    if decision == "allowed":
        consent = str(facts.get("consent", "")).replace("_", " ")
        return "allowed" + (f" (consent: {consent})" if consent else "")
    until = facts.get("until")
    later = f", not before {moment(until)}" if until is not None else ""
    return f"{decision or 'judged'}: {reason}{later}"


def _plan(facts: _Read) -> str:
    facts.skip("steps", "commands", "objects", "digest")
    again = "planned anew, as the plan has changed" if facts.get("changed") else "planned"
    figures = facts.get("figures", {})
    return f"{again}: {facts.get('summary', '')}" + (f" ({figures_line(figures)})" if figures else "")


def _asked(facts: _Read) -> str:
    facts.skip("digest")
    needed, until = facts.get("needed", 1), facts.get("expires_at")
    later = f" until {moment(until)}" if until is not None else ""
    return f"people were asked: {needed} approval{'s' if needed != 1 else ''} needed{later}"


def _answer(facts: _Read) -> str:
    facts.skip("digest")
    said = "approved" if facts.get("approved") else "rejected"
    why, because = facts.get("reason"), facts.get("because", "")
    counted = "" if facts.get("decision") != "refused" else f"; that does not count: {because}"
    return f"{said}{_over(facts)}" + (f": {why}" if why else "") + counted


def _taken_over(facts: _Read) -> str:
    return (
        f"taken over by {facts.get('owner', 'another daemon')}, attempt {facts.get('attempt', '?')}"
        f" ({facts.get('deaths', 0)} ended without a word)"
    )


def _step(facts: _Read) -> str:
    name, state = facts.get("name", ""), facts.get("state", "")
    seconds, figures, tries = facts.get("seconds"), facts.get("figures", {}), facts.get("tries", 1)
    facts.skip("attempt")
    if state == "failed":
        again = " (it is tried again)" if facts.get("again") else ""
        return f"step {name} failed: {facts.get('error', '')}{again}"
    took = f" in {duration(seconds)}" if seconds is not None else ""
    tried = f", try {tries}" if isinstance(tries, int) and tries > 1 else ""
    return f"step {name} {state}{took}{tried}" + (f" ({figures_line(figures)})" if figures else "")


def _undo(facts: _Read) -> str:
    error = facts.get("error")
    return "what it left was taken back" if error is None else f"what it left could not be taken back: {error}"


def _verdict(facts: _Read) -> str:
    facts.skip("before", "after")
    return f"{'it helped' if facts.get('fixed') else 'it did not help'}: {facts.get('reason', '')}"


def _outcome(facts: _Read) -> str:
    facts.skip("before", "after")
    seconds = facts.get("seconds")
    took = f" after {duration(seconds)}" if seconds else ""
    return f"ended as {str(facts.get('result', '')).replace('_', ' ')}{took}: {facts.get('reason', '')}"


def _escalated(facts: _Read) -> str:
    return f"left to people: {facts.get('reason', '')}"


def _control(facts: _Read) -> str:
    what, why = facts.get("what", "change"), facts.get("reason")
    if facts.get("decision") == "refused":
        return f"wanted to {what} it{_over(facts)} and was refused: {facts.get('because', '')}"
    return f"asked to {what} it{_over(facts)}" + (f": {why}" if why else "")


def _switch(facts: _Read) -> str:
    if facts.get("decision") == "refused":
        return f"wanted to turn the stop switch and was refused: {facts.get('because', '')}"
    why = facts.get("reason")
    said = "stopped all actions" if facts.get("stopped") else "let actions begin again"
    return f"{said}{_over(facts)}" + (f": {why}" if why else "")


def _click(facts: _Read) -> str:
    facts.skip("user", "team", "thread")
    said = f"pressed {facts.get('what', 'a button')} in Slack"
    facts.skip("via")
    return f"{said}, refused: {facts.get('because', '')}" if facts.get("decision") == "refused" else said


def _silence(facts: _Read) -> str:
    what, which = facts.get("what", "changed"), _pairs(facts.get("matchers", {}))
    if facts.get("decision") == "refused":
        return f"wanted to {what} a silence{_over(facts)} and was refused: {facts.get('because', '')}"
    until, why = facts.get("ends_at"), facts.get("comment")
    facts.skip("silence")
    verb = {"create": "silenced", "extend": "silenced for longer", "expire": "ended the silence of"}.get(what, what)
    later = f" until {moment(until)}" if until is not None and what != "expire" else ""
    return f"{verb} {which}{later}{_over(facts)}" + (f": {why}" if why else "")


_TELL: Mapping[str, Callable[[_Read], str]] = {
    "requested": _requested,
    "guard": _guard,
    "plan": _plan,
    "asked": _asked,
    "answer": _answer,
    "taken_over": _taken_over,
    "step": _step,
    "undo": _undo,
    "verdict": _verdict,
    "outcome": _outcome,
    "escalated": _escalated,
    "control": _control,
    "switch": _switch,
    "click": _click,
    "silence": _silence,
}


def _over(facts: _Read) -> str:
    via = facts.get("via")
    return {"cli": " on the daemon's machine", "http": " over HTTP", "page": " on the page", "slack": " in Slack"}.get(
        via, f" over {via}" if via else ""
    )


def _pairs(values: object) -> str:
    if not isinstance(values, Mapping):
        return str(values)
    return ", ".join(f"{name}={_shown(value)}" for name, value in values.items())


def _rest(facts: Facts) -> str:
    left = {name: value for name, value in facts.items() if value not in (None, "", [], {}, False)}
    text = _pairs(left)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
