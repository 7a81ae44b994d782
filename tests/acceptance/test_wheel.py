"""The artefact itself: the wheel, installed alone in a new virtual environment, run from an empty directory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGES = ("fleet", "collectors", "rules", "actions", "daemon", "migrations", "dashboards")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` directory of a virtual environment that holds nothing but the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROJECT)
    run(*build, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    bin_ = folder / "venv" / "bin"
    pip = (bin_ / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "-c", PROJECT / "constraints.txt", wheel, cwd=folder)
    return bin_


def test_the_command_runs(installed: Path, tmp_path: Path) -> None:
    assert "status" in run(installed / "custode", "--help", cwd=tmp_path)
    assert run(installed / "custode", "--version", cwd=tmp_path).startswith("custode ")


def test_it_finds_its_rules_and_plugins(installed: Path, tmp_path: Path) -> None:
    for kind, expected in (("rules", "BackupTooOld"), ("collectors", "indexes"), ("actions", "backup")):
        listed = json.loads(run(installed / "custode", "list", kind, "--json", cwd=tmp_path))
        assert expected in {item["name"] for item in listed}


def test_it_finds_its_migrations_and_dashboards(installed: Path, tmp_path: Path) -> None:
    script = (
        "from importlib.resources import files\n"
        "versions = files('migrations.reference').joinpath('versions')\n"
        "print(len([f for f in versions.iterdir() if f.name.endswith('.py')]))\n"
        "import json\n"
        "boards = [f for f in files('dashboards').iterdir() if f.name.endswith('.json')]\n"
        "print(*sorted(json.loads(f.read_text(encoding='utf-8'))['uid'] for f in boards))\n"
        "samples = [files('dashboards').joinpath('provisioning', kind) for kind in ('dashboards', 'datasources')]\n"
        "print(*(file.name for sample in samples for file in sample.iterdir()))\n"
    )
    revisions, dashboards, provisioning = run(installed / "python", "-c", script, cwd=tmp_path).splitlines()
    assert int(revisions) >= 5
    names = ("actions", "backups", "daemon", "environment", "fleet", "vectors")
    assert dashboards.split() == [f"custode-{name}" for name in names]
    assert provisioning.split() == ["custode.yml", "custode.yml"]


def test_our_top_level_names_are_ours_alone(installed: Path, tmp_path: Path) -> None:
    # `daemon` and `rules` exist on PyPI too; another distribution would overwrite ours without a word
    script = (
        "import json\nfrom importlib.metadata import packages_distributions\n"
        f"print(json.dumps({{name: packages_distributions().get(name) for name in {PACKAGES!r}}}))\n"
    )
    owners = json.loads(run(installed / "python", "-c", script, cwd=tmp_path))
    assert owners == {name: ["custode"] for name in PACKAGES}


def test_a_stranger_in_the_working_directory_is_not_run(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "daemon.py").write_text("raise SystemExit('a stranger')")
    (tmp_path / "rules").mkdir()
    assert "status" in run(installed / "custode", "--help", cwd=tmp_path)
