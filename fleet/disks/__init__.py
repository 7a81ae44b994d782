"""Where disk space is read: one file a source."""

from fleet.disks._source import DiskSource, Usage

__all__ = ["DiskSource", "Usage"]
