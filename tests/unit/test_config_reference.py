from daemon.config import Catalogue, OperatorSettings
from daemon.config._settings import Basics
from daemon.config.reference import render
from fleet.environment import Environment


def rows() -> dict[str, list[list[str]]]:
    """Cells of every table by its heading."""
    sections: dict[str, list[list[str]]] = {}
    for line in render().splitlines():
        if line.startswith("###"):
            cells = sections.setdefault(line.removeprefix("### "), [])
        elif line.startswith("| ") and not line.startswith("| ---"):
            cells.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return sections


def test_every_key_and_every_plugin_is_in_it() -> None:
    sections = rows()
    keys = {row[0].strip("`").split(".")[0] for row in sections["`environments.NAME`"]}
    assert keys == {"key", *Environment.model_fields} - {"name", "policy", "schema_reference"}
    keys = {row[0].strip("`").split(".")[0] for row in sections["The daemon"]}
    assert keys >= Basics.model_fields.keys()
    daemon = {row[0]: row[1:] for row in sections["The daemon"]}
    assert daemon["`actions.approval_expires`"][:2] == ["duration", "3d"]
    assert daemon["`operators`"][:2] == ["mapping", "none"]
    assert daemon["`operators.NAME.token`"][:2] == ["text with references or null", "null"]
    assert {f"`operators.NAME.{name}`" for name in OperatorSettings.model_fields} <= daemon.keys()
    catalogue = Catalogue.load()
    for name in (*catalogue.stores, *catalogue.notifiers, *catalogue.disks):
        assert any(row[0] == f"`{name}`" for cells in sections.values() for row in cells), name
    indexes = [row for row in sections["`collectors.NAME`"] if row[0] == "each"]
    assert [row[1] for row in indexes] == ["`enabled`", "`interval`", "`timeout`", "`max_series`"]


def test_the_guide_s_figures_stand_in_the_policy() -> None:
    policy = {row[0]: row[1:] for row in rows()["Policy: `tiers.TIER`, and `environments.NAME.policy`"]}
    assert policy["`backup.interval`"][:5] == ["duration or null", "null", "1d", "1d", "1h"]
    assert policy["`window.start`"][1:5] == ["", "", "02:00", "02:00"]
    assert policy["`consent.destructive`"][1:5] == ["auto", "one_approval", "two_approvals", "two_approvals"]


def test_every_row_has_all_its_cells_and_a_meaning() -> None:
    for title, cells in rows().items():
        assert len({len(row) for row in cells}) == 1, title
        assert [row for row in cells if not row[-1]] == [], title
