import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import collectors
import fleet.disks
import fleet.secrets
from collectors import Collector
from fleet.disks import DiskSource
from fleet.errors import PluginError
from fleet.plugins import load_plugins
from fleet.secrets import SecretSource

GOOD = (
    "from fleet.disks import DiskSource\nclass S(DiskSource):\n    name = '{name}'\n    async def usage(self, c): ...\n"
)
PackageMaker = Callable[[dict[str, str]], ModuleType]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageMaker]:
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(files: dict[str, str]) -> ModuleType:
        folder = tmp_path / "sources_of_test"
        folder.mkdir()
        (folder / "__init__.py").touch()
        for name, text in files.items():
            (folder / name).write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module("sources_of_test")

    yield make
    for name in [name for name in sys.modules if name.startswith("sources_of_test")]:
        del sys.modules[name]


def test_finds_a_plugin_by_its_file_and_skips_underscores(make_package: PackageMaker) -> None:
    package = make_package({"tape.py": GOOD.format(name="tape"), "_base.py": "raise RuntimeError"})
    assert list(load_plugins(package, DiskSource)) == ["tape"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module_anywhere", "cannot be imported"),
        ("", "exactly one DiskSource, it holds 0"),
        (GOOD.format(name="tape") + GOOD.format(name="tape").replace("class S", "class T"), "it holds 2"),
        (GOOD.format(name="disk"), "must be 'tape'"),
    ],
)
def test_a_broken_plugin_is_an_error_that_names_the_file(make_package: PackageMaker, text: str, said: str) -> None:
    with pytest.raises(PluginError, match=said) as raised:
        load_plugins(make_package({"tape.py": text}), DiskSource)
    assert "tape" in raised.value.message


def test_the_shipped_seams_load() -> None:
    assert load_plugins(fleet.secrets, SecretSource).keys() >= {"env", "file"}
    assert load_plugins(fleet.disks, DiskSource)
    assert load_plugins(collectors, Collector)
