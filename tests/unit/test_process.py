import os
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
