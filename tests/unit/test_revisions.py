"""Alembic's revision graph, read from scripts without running them."""

from pathlib import Path

import pytest

from fleet.errors import ConfigError
from fleet.revisions import Revision, build_graph, read_graph, read_revision

LINE = [Revision("a", ()), Revision("b", ("a",)), Revision("c", ("b",))]
DIAMOND = [*LINE, Revision("x", ("a",)), Revision("m", ("c", "x"))]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("current", "behind"),
    [(["c"], 0), (["b"], 1), (["a"], 2), ([], 3), (["gone"], None), (["c", "gone"], None)],
)
def test_behind_is_what_is_still_to_be_applied(current: list[str], behind: int | None) -> None:
    assert build_graph(LINE).behind(current) == behind


@pytest.mark.parametrize(("current", "behind"), [(["m"], 0), (["c", "x"], 1), (["c"], 2), (["x"], 3)])
def test_branches_and_merges(current: list[str], behind: int) -> None:
    graph = build_graph(DIAMOND)
    assert graph.behind(current) == behind
    assert graph.heads == {"m"}


def test_what_a_revision_depends_on_is_applied_with_it() -> None:
    revisions = [Revision("core1", (), branch_labels=("core",)), Revision("app1", (), depends_on=("core",))]
    assert build_graph(revisions).behind(["app1"]) == 0
    assert build_graph(revisions).behind(["core1"]) == 1
    by_prefix = [Revision("27c6a30d7c24", ()), Revision("b", (), depends_on=("27c6",))]
    assert build_graph(by_prefix).behind(["b"]) == 0


def test_a_circle_ends() -> None:
    assert build_graph([Revision("a", ("b",)), Revision("b", ("a",))]).behind(["a"]) == 0


@pytest.mark.parametrize("revisions", [[Revision("b", ("a",))], [Revision("a", ()), Revision("a", ())]])
def test_a_graph_with_holes_or_doubles_is_an_error(revisions: list[Revision]) -> None:
    with pytest.raises(ConfigError):
        build_graph(revisions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("revision = 'a'\ndown_revision = None\n", Revision("a", ())),
        ('"""Doc."""\nrevision: str = "b"\ndown_revision: Union[str, None] = "a"\n', Revision("b", ("a",))),
        ("revision = 'm'\ndown_revision = ('a', 'b')\n", Revision("m", ("a", "b"))),
        ("revision = '0001_è \\'quoted\\''\ndown_revision = ['x']", Revision("0001_è 'quoted'", ("x",))),
        (
            "revision = 'z'\ndown_revision = None\nbranch_labels = ('web',)\ndepends_on = 'a'\n",
            Revision("z", (), ("a",), ("web",)),
        ),
        ("import os\nos.remove('/never/run')\nrevision = 'r'\n", Revision("r", ())),
        ("def helper():\n    revision = 'hidden'\n", None),
        ("revision: str\n", None),
    ],
)
def test_scripts_are_read_not_run(tmp_path: Path, text: str, expected: Revision | None) -> None:
    assert read_revision(write(tmp_path, "script.py", text)) == expected


@pytest.mark.parametrize("text", ["revision = (", "revision = 'a' + SUFFIX\n", "revision = 'a'\ndown_revision = 3\n"])
def test_a_script_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"script\.py"):
        read_revision(write(tmp_path, "script.py", text))


def test_a_folder_is_an_alembic_environment_or_its_versions(tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    write(tmp_path, "env.py", "raise SystemExit('never run')")
    write(versions, "__init__.py", "")
    write(versions, "1_first.py", "revision = '1'\ndown_revision = None\n")
    write(versions, "2_second.py", "revision = '2'\ndown_revision = '1'\n")
    assert read_graph(tmp_path).heads == read_graph(versions).heads == {"2"}
    with pytest.raises(ConfigError, match="no directory"):
        read_graph(tmp_path / "nowhere")
