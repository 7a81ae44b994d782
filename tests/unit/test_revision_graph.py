"""Names, orders and positions in a graph of revisions, judged by Alembic itself on the same scripts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from fleet.environment import GitSettings, SchemaSettings
from fleet.errors import ConfigError
from fleet.revisions import Revision, build_graph, fingerprint, position, read_graph, read_scripts
from tests.integration.migration_trouble import script, write_application

# a trunk, two branches of it, their merge, one behind; and a tree of its own that needs the trunk
REVISIONS = [
    Revision("ae1027a6acf", ()),
    Revision("b1_è", ("ae1027a6acf",)),
    Revision("x.2", ("ae1027a6acf",), branch_labels=("web",)),
    Revision("0003", ("b1_è", "x.2")),
    Revision("0004", ("0003",)),
    Revision("own", (), depends_on=("b1_è",)),
]
GRAPH = build_graph(REVISIONS)


@pytest.mark.parametrize(
    ("name", "current", "expected"),
    [
        ("heads", [], {"0004", "own"}),
        ("base", ["0004"], set()),
        ("0003", [], {"0003"}),
        ("ae10", [], {"ae1027a6acf"}),
        ("web", [], {"x.2"}),
        ("web@head", [], {"0004"}),
        ("own@head", [], {"own"}),
        ("0003+1", [], {"0004"}),
        ("0004-1", [], {"0003"}),
        ("-1", ["0004"], {"0003"}),
        ("+1", ["0003"], {"0004"}),
        ("ae1027a6acf-1", [], set()),
        ("b1_è", [], {"b1_è"}),
    ],
)
def test_names_mean_what_alembic_reads_in_them(name: str, current: list[str], expected: set[str]) -> None:
    assert GRAPH.resolve(name, current) == expected


@pytest.mark.parametrize(
    "name", ["head", "nowhere", "000", "", "-1", "0003-1", "ae1027a6acf-2", "ae1027a6acf+1", "web@"]
)
def test_what_is_not_one_revision_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError):
        GRAPH.resolve(name, [])


def test_each_comes_behind_what_it_needs_always_in_the_same_order() -> None:
    order = GRAPH.ordered(list(GRAPH.parents))
    assert sorted(order) == sorted(GRAPH.parents)
    for at, id_ in enumerate(order):
        assert GRAPH.parents[id_] <= set(order[:at])
    assert build_graph(list(reversed(REVISIONS))).ordered(list(reversed(order))) == order
    circle = build_graph([Revision("a", ("b",)), Revision("b", ("a",))])
    with pytest.raises(ConfigError, match="circle"):
        circle.ordered(["a", "b"])


def test_the_rows_are_the_tips() -> None:
    assert GRAPH.tips(GRAPH.applied(["0003", "own"])) == {"0003", "own"}
    assert GRAPH.tips(GRAPH.applied(["b1_è", "x.2"])) == {"b1_è", "x.2"}
    assert GRAPH.tips(GRAPH.applied(["ae1027a6acf", "own"])) == {"own"}
    assert GRAPH.tips([]) == frozenset()


def test_where_an_environment_stands() -> None:
    found = position(GRAPH, ["0003"], reference=["b1_è"])
    assert found.behind == ("0004", "own")
    assert found.ahead == ("x.2", "0003")
    assert not found.branched
    assert position(GRAPH, ["x.2", "b1_è"]).branched
    assert position(GRAPH, []).behind == tuple(GRAPH.ordered(list(GRAPH.parents)))
    assert position(GRAPH, ["0004", "own"]).at_head
    lost = position(GRAPH, ["0003", "gone"], reference=["0003"])
    assert (lost.unknown, lost.behind, lost.ahead, lost.at_head) == (("gone",), None, None, False)
    assert position(GRAPH, ["0003"], reference=["gone"]).ahead is None


def application(folder: Path) -> Path:
    texts = {
        f"{at}_script": script(
            one.id,
            one.down if len(one.down) > 1 else next(iter(one.down), None),
            "",
            "",
            depends_on=one.depends_on or None,
        )
        for at, one in enumerate(REVISIONS)
    }
    return write_application(folder, texts)


def test_alembic_orders_and_counts_as_we_do(tmp_path: Path) -> None:
    folder = application(tmp_path)
    theirs = ScriptDirectory(str(folder / "migrations"))
    graph = read_graph(folder / "migrations")
    assert graph.parents == GRAPH.parents
    assert set(theirs.revision_map._real_heads) == graph.heads
    assert {one.revision for one in theirs.walk_revisions()} == graph.parents.keys()
    assert graph.revisions["0003"].title == "what 0003 does"


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


async def test_scripts_come_out_of_git_as_they_are_committed(tmp_path: Path) -> None:
    folder = application(tmp_path / "clone")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")
    git(folder, "tag", "v1")
    expected = await read_scripts(SchemaSettings(scripts=folder / "migrations"))
    (folder / "migrations" / "versions" / "9_new.py").write_text(script("new", "0004", "", ""))
    for place in ("migrations", "migrations/versions", "migrations/versions/"):
        settings = SchemaSettings(git=GitSettings(path=folder, ref="v1", folder=place))
        found = await read_scripts(settings)
        assert read_graph(found).parents == GRAPH.parents
        assert fingerprint(found) == fingerprint(expected)
    assert fingerprint(await read_scripts(SchemaSettings(scripts=folder / "migrations"))) != fingerprint(expected)
    for wrong in (
        GitSettings(path=folder, ref="v2", folder="migrations"),
        GitSettings(path=folder, folder="nowhere"),
        GitSettings(path=tmp_path, folder="migrations"),
    ):
        with pytest.raises(ConfigError, match="cannot be read"):
            await read_scripts(SchemaSettings(git=wrong))


def test_a_ref_is_no_option_and_there_is_one_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ref"):
        GitSettings(path=tmp_path, ref="--output=/etc/passwd")
    with pytest.raises(ValueError, match="not both"):
        SchemaSettings(scripts=tmp_path, git=GitSettings(path=tmp_path))
