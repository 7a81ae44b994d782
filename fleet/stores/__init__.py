"""Where backups are kept: one file a kind of store."""

from fleet.stores._sealed import Sealed
from fleet.stores._store import Stat, Store

__all__ = ["Sealed", "Stat", "Store"]
