from pathlib import Path

import pytest

from fleet.client_tools import Tool, find_tool
from fleet.errors import ProcessError


def program(folder: Path, name: str, says: str, status: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("pg_dump (PostgreSQL) 18.6", (18, 6)),
        ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", (15, 18)),
        ("pg_dump (PostgreSQL) 19beta1", (19, 0)),
    ],
)
async def test_reads_the_version(tmp_path: Path, says: str, version: tuple[int, int]) -> None:
    path = program(tmp_path, "pg_dump", says)
    assert await find_tool("pg_dump", tmp_path) == Tool(path, version)


async def test_the_newest_on_the_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "old", "pg_dump", "pg_dump (PostgreSQL) 13.22")
    newest = program(tmp_path / "new", "pg_dump", "pg_dump (PostgreSQL) 97.1")
    program(tmp_path / "broken", "pg_dump", "no cluster here", status=1)
    folders = [tmp_path / "broken", tmp_path / "old", tmp_path / "new", tmp_path / "missing"]
    monkeypatch.setenv("PATH", ":".join(map(str, [*folders, "/bin", "/usr/bin"])))
    assert await find_tool("pg_dump", None) == Tool(newest, (97, 1))


async def test_the_first_of_equals_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = program(tmp_path / "a", "pg_dump", "pg_dump (PostgreSQL) 97.1")
    program(tmp_path / "b", "pg_dump", "pg_dump (PostgreSQL) 97.1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'a'}:{tmp_path / 'b'}:/bin:/usr/bin")
    assert (await find_tool("pg_dump", None)).path == first


async def test_a_configured_folder_is_the_only_one(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=f"no pg_dump in {tmp_path}") as raised:
        await find_tool("pg_dump", tmp_path)
    assert "client_tools" in str(raised.value.hint)


@pytest.mark.parametrize(("says", "status"), [("hello", 0), ("pg_dump (PostgreSQL) 18.6", 1)])
async def test_a_program_that_tells_no_version_is_none(tmp_path: Path, says: str, status: int) -> None:
    program(tmp_path, "psql", says, status)
    with pytest.raises(ProcessError, match="no psql tells its version"):
        await find_tool("psql", tmp_path)


async def test_the_embedded_server_brings_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    tool = await find_tool("pg_restore", None)
    assert tool.path.parent.name == "bin"
    assert tool.version >= (18, 0)
