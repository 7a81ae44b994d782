"""The pieces of configuration in the README can be used."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.config import Settings, load
from tests.unit.test_readme import README

OTHERS = {"scrape_configs", "display_information", "groups", "rule_files", "tls_server_config", "published"}
ENVIRONMENTS = {
    name: {"tier": name, "dsn": f"postgresql://custode@db/{name}"} for name in ("development", "qa", "production")
}


def blocks() -> list[dict[str, Any]]:
    if not README.exists():
        return []
    text = README.read_text(encoding="utf-8")
    found = re.findall(r"^ *```yaml\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(textwrap.dedent(block)) for block in found]


ALL = blocks()
PIECES = [block for block in ALL if not block.keys() & OTHERS]


def test_every_block_is_a_piece_of_configuration_or_something_known() -> None:
    if not README.exists():
        pytest.skip("the README is not part of an installed wheel")
    assert len(PIECES) >= 6
    for piece in PIECES:
        assert piece.keys() <= set(Settings.model_fields) | {"tiers"}, piece


@pytest.mark.parametrize("piece", PIECES, ids="-".join)
def test_a_piece_of_configuration_can_be_used(piece: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "custode.yml"
    if "access" in piece:
        web = next(block for block in ALL if "tls_server_config" in block)
        (tmp_path / "web.yml").write_text(yaml.safe_dump({"basic_auth_users": web["basic_auth_users"]}))
    path.write_text(yaml.safe_dump({"data_dir": str(tmp_path), "environments": ENVIRONMENTS} | piece))
    assert load(path).environments
