import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from fleet.errors import ProcessError
from fleet.process import run, running


async def test_returns_what_the_child_printed() -> None:
    assert await run([sys.executable, "-c", "print('ciao')"]) == "ciao\n"


async def test_a_failing_child_is_an_error_with_the_end_of_its_stderr() -> None:
    with pytest.raises(ProcessError, match=r"status 3: .*broken pipe"):
        await run([sys.executable, "-c", "import sys; sys.stderr.write('x' * 9000 + 'broken pipe'); sys.exit(3)"])


async def test_a_missing_program_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="cannot be started") as raised:
        await run([tmp_path / "pg_dump"])
    assert raised.value.hint


async def test_arguments_pass_no_shell() -> None:
    assert await run([sys.executable, "-c", "import sys; print(sys.argv[1])", "$(id); `id` *"]) == "$(id); `id` *\n"


async def test_leaving_early_ends_the_child() -> None:
    async with running([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]) as child:
        assert child.stdout is not None
        await child.stdout.readline()
        pid = child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


_PARENT = """
import asyncio, sys
from fleet import process

async def main():
    if sys.argv[1] == "by ourselves":
        process._SETPRIV = None
    script = "import time; print(flush=True); time.sleep(600)"
    async with process.running([sys.executable, "-c", script]) as child:
        await child.stdout.readline()  # it has begun: what ends it with us is set
        print(child.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["as here", "by ourselves"])
async def test_a_child_ends_with_a_parent_that_is_killed(way: str) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", _PARENT, way, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    gone = os.pidfd_open(child)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(gone, ended.set)
    parent.send_signal(signal.SIGKILL)
    async with asyncio.timeout(10):
        await ended.wait()
        await parent.wait()
    asyncio.get_running_loop().remove_reader(gone)
    os.close(gone)
