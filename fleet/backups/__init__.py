"""The backup repository: manifests and the objects that they describe."""

from fleet.backups.manifest import (
    DatabaseDump,
    KnownManifests,
    Manifest,
    Table,
    backup_id,
    backup_prefix,
    dump_key,
    manifest_key,
    read_manifest,
    read_manifests,
    write_manifest,
)

__all__ = [
    "DatabaseDump",
    "KnownManifests",
    "Manifest",
    "Table",
    "backup_id",
    "backup_prefix",
    "dump_key",
    "manifest_key",
    "read_manifest",
    "read_manifests",
    "write_manifest",
]
