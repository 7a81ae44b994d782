"""What schema a database has in fact: its catalogue, how two differ, and SQL that would put it right."""

from __future__ import annotations

from fleet.schema.catalogue import read_catalogue
from fleet.schema.diff import Change, Difference, compare, settled, tally
from fleet.schema.flight import Flight, read_flight
from fleet.schema.objects import KINDS, Catalogue, Kind, SchemaObject
from fleet.schema.render import render
from fleet.schema.repair import suggest

__all__ = [
    "KINDS",
    "Catalogue",
    "Change",
    "Difference",
    "Flight",
    "Kind",
    "SchemaObject",
    "compare",
    "read_catalogue",
    "read_flight",
    "render",
    "settled",
    "suggest",
    "tally",
]
