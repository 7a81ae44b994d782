"""The name of an installation: what stays when its process is another one."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import structlog

log = structlog.get_logger()


def read_instance(data_dir: Path) -> str:
    """The instance id of `data_dir`, 32 hexadecimal digits, made at the first start.

    Where it cannot be written, a new one: then a restart counts as another daemon, which costs a lease time.
    """
    path = data_dir / "instance-id"
    try:
        known = path.read_bytes().decode("ascii", "replace").strip() if path.exists() else ""
        if re.fullmatch(r"[0-9a-f]{32}", known):
            return known
        known = uuid.uuid4().hex
        partial = path.with_suffix(".partial")
        partial.write_text(known + "\n", encoding="ascii")
        partial.replace(path)
    except OSError as error:
        log.warning("instance_id_not_kept", path=str(path), error=str(error))
        known = uuid.uuid4().hex
    return known
