"""Temporary folders: held while they are used, swept when whoever used them is dead."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.workspace import sweep, workspace


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_it_is_ours_alone_and_gone_when_it_is_left(temporary: Path) -> None:
    with workspace("custode-x-") as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "dump").write_text("secret")
        sweep("custode-x-")
        assert (folder / "dump").exists(), "it is held"
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_nothing_else(temporary: Path) -> None:
    left, other, strange = (temporary / name for name in ("custode-x-1", "custode-y-1", "custode-x-2"))
    for folder in (left, other, strange):
        folder.mkdir()
    for folder in (left, other):
        (folder / "held").touch()
    seen: list[Path] = []
    sweep("custode-x-", seen.append)
    assert seen == [left]
    assert set(temporary.iterdir()) == {strange, other}
