"""Masks: personal data replaced on production's side, before a row leaves it.

They are deterministic: with one key and tier, equal values of equal columns become equal masks, so that joins survive.
What they make can be told from real data without the key: see fleet/data/strategies.py.
"""

from fleet.data.masks._masker import Masker, Selection
from fleet.data.masks._secret import read_key

__all__ = ["Masker", "Selection", "read_key"]
