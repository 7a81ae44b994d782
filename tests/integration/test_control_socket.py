"""The control socket: made, replaced, refused, however deep the directory."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from daemon.data_dir import SOCKET_NAME
from daemon.web.control_socket import ControlSocket, socket_path
from fleet.errors import DaemonError
from tests.integration.action_site import MemoryActions, Staff, make_server


def connect(data_dir: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_path(data_dir) as path:
            client.connect(path)
    except OSError:
        client.close()
        raise
    return client


def leave_over(data_dir: Path) -> None:
    """A socket file as a process that was killed leaves it."""
    with closing(ControlSocket(data_dir)):
        pass
    assert (data_dir / SOCKET_NAME).is_socket()


def test_only_its_owner_gets_in(tmp_path: Path) -> None:
    with closing(ControlSocket(tmp_path)) as control:
        found = (tmp_path / SOCKET_NAME).stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o666
        with closing(connect(tmp_path)), closing(control.socket.accept()[0]):
            pass
        control.remove()
    assert not (tmp_path / SOCKET_NAME).exists()


def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    leave_over(tmp_path)
    with pytest.raises(ConnectionRefusedError):
        connect(tmp_path)
    with closing(ControlSocket(tmp_path)), closing(connect(tmp_path)):
        pass


def test_a_living_process_keeps_it(tmp_path: Path) -> None:
    with closing(ControlSocket(tmp_path)):
        with pytest.raises(DaemonError, match="a living process listens on") as caught:
            ControlSocket(tmp_path)
        assert "data_dir" in str(caught.value.hint)
        with closing(connect(tmp_path)):
            pass


def test_another_one_that_is_starting_keeps_it(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(DaemonError, match="about to listen"):
        ControlSocket(tmp_path)
    os.close(handle)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    place = tmp_path / SOCKET_NAME
    if kind == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DaemonError, match="is no socket"):
        ControlSocket(tmp_path)
    assert place.is_symlink() or place.read_text() == "mine"


def test_the_socket_of_another_is_not_removed(tmp_path: Path) -> None:
    with closing(ControlSocket(tmp_path)) as old:
        (tmp_path / SOCKET_NAME).unlink()
        with closing(ControlSocket(tmp_path)):
            old.remove()
            with closing(connect(tmp_path)):
                pass


def test_no_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match="No such file or directory"):
        ControlSocket(tmp_path / "nowhere")


async def test_a_directory_deeper_than_a_socket_path_can_be(tmp_path: Path) -> None:
    data_dir = tmp_path / ("d" * 100) / ("e" * 100)
    data_dir.mkdir(parents=True)
    server = make_server(MemoryActions(), Staff())
    await server.start("127.0.0.1", 0, control=data_dir)
    assert server.address.startswith("http://127.0.0.1:")
    with socket_path(data_dir) as path:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
            session.get("http://custode/api/v1/actions") as response,
        ):
            assert await response.json() == {"status": "success", "data": []}
    await server.stop()
    assert not (data_dir / SOCKET_NAME).exists()


async def test_a_daemon_that_cannot_have_its_socket_listens_nowhere(tmp_path: Path) -> None:
    with closing(ControlSocket(tmp_path)):
        server = make_server(MemoryActions(), Staff())
        with pytest.raises(DaemonError, match="a living process"):
            await server.start("127.0.0.1", 0, control=tmp_path)
        with closing(connect(tmp_path)):
            pass
