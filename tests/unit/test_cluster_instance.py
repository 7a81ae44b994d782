from pathlib import Path

import pytest

from daemon.cluster import read_instance


def test_it_stays_and_differs_between_installations(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    first = read_instance(tmp_path / "a")
    assert len(first) == 32
    assert read_instance(tmp_path / "a") == first
    assert read_instance(tmp_path / "b") != first


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../x", b"A" * 32])
def test_what_is_damaged_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "instance-id").write_bytes(content)
    made = read_instance(tmp_path)
    assert len(made) == 32
    assert read_instance(tmp_path) == made


def test_where_it_cannot_be_kept_there_is_one_all_the_same(tmp_path: Path) -> None:
    assert len(read_instance(tmp_path / "missing")) == 32
