"""How far an index build has come, of what pg_stat_progress_create_index says.

Source: PostgreSQL's documentation, "CREATE INDEX Progress Reporting"; pgvector's README, "Indexing Progress". How much
of the whole each phase takes is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

_BUILDING = "building index"
_BUILT = 0.85  # of a build that blocks nobody; the rest is to take in what was written meanwhile

# where a phase begins and ends, as ratios of the phases that build, or of the whole
_OF_BUILD = {
    "initializing": (0.0, 0.0),
    "scanning table": (0.0, 0.45),  # btree, hash
    "sorting live tuples": (0.45, 0.45),
    "sorting dead tuples": (0.55, 0.55),
    "loading tuples in tree": (0.55, 1.0),
    "performing k-means": (0.0, 0.0),  # IVFFlat
    "assigning tuples": (0.1, 0.6),
}
_LOADING_LISTS = (0.6, 1.0)
_OF_ALL = {
    "waiting for writers before validation": (_BUILT, _BUILT),
    "index validation: scanning index": (_BUILT, 0.90),
    "index validation: sorting tuples": (0.90, 0.90),
    "index validation: scanning table": (0.90, 0.98),
    "waiting for old snapshots": (0.98, 0.98),
    "waiting for readers before marking dead": (0.99, 0.99),
    "waiting for readers before dropping": (0.99, 0.99),
}
_TOO_EARLY = 0.02  # nothing can be said of the end before this ratio


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """What the server tells of a build; of all its workers together."""

    command: str
    phase: str
    blocks_done: float = 0.0
    blocks: float = 0.0
    tuples_done: float = 0.0
    tuples: float = 0.0

    @property
    def waiting(self) -> bool:
        """Whether it does nothing itself, until somebody else's transaction ends."""
        return self.phase.startswith("waiting")

    @property
    def ratio(self) -> float:
        """Done of the whole, from 0 to 1."""
        whole = _BUILT if "CONCURRENTLY" in self.command else 1.0
        if not self.phase.startswith(_BUILDING):
            begin, end = _OF_ALL.get(self.phase, (0.0, 0.0))
            return begin + (end - begin) * self._of_phase
        phase = self.phase.removeprefix(_BUILDING).removeprefix(": ")
        # HNSW and IVFFlat call it the same; only IVFFlat counts rows, and only then
        lists = phase == "loading tuples" and self.tuples > 0
        begin, end = _LOADING_LISTS if lists else _OF_BUILD.get(phase, (0.0, 1.0))
        return whole * (begin + (end - begin) * self._of_phase)

    @property
    def _of_phase(self) -> float:
        if self.tuples > 0:
            return min(1.0, self.tuples_done / self.tuples)
        return min(1.0, self.blocks_done / self.blocks) if self.blocks > 0 else 0.0

    def remaining_seconds(self, elapsed: float) -> float | None:
        """How long it goes on, as long as it goes on as it did for `elapsed` seconds; None: nobody can tell yet."""
        ratio = self.ratio
        return None if self.waiting or ratio < _TOO_EARLY else elapsed * (1 - ratio) / ratio
