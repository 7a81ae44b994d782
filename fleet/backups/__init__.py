"""The backup repository: manifests, the objects that they describe, and what may be removed."""

from fleet.backups.catalogue import (
    KnownManifests,
    read_manifest,
    read_manifests,
    write_manifest,
    write_pin,
    write_proof,
)
from fleet.backups.manifest import (
    Blob,
    DatabaseDump,
    DatabaseSnapshot,
    Manifest,
    Pin,
    Proof,
    Table,
    TableCopy,
    backup_id,
    backup_prefix,
    dump_key,
    manifest_key,
)

__all__ = [
    "Blob",
    "DatabaseDump",
    "DatabaseSnapshot",
    "KnownManifests",
    "Manifest",
    "Pin",
    "Proof",
    "Table",
    "TableCopy",
    "backup_id",
    "backup_prefix",
    "dump_key",
    "manifest_key",
    "read_manifest",
    "read_manifests",
    "write_manifest",
    "write_pin",
    "write_proof",
]
