"""What the backup policy of an environment names elsewhere in the configuration: stores, and other environments."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from daemon.config._plugins import Reader
from daemon.config._problems import closest
from fleet.environment import Environment
from fleet.policy import Tier

FILES = "files"  # the copy that backups of other programs are shown as


def check_backups(environments: Mapping[str, Environment], stores: Collection[str], reader: Reader) -> None:
    """Note copies in stores that do not exist, and restore tests where they may not be."""
    if FILES in stores:
        reader.problems.add(("stores", FILES), "cannot be the name of a store: files of other programs are called so")
    for name, environment in environments.items():
        backup = environment.policy.backup
        at = ("environments", name, "policy", "backup")
        for copy in backup.copies:
            if copy not in stores:
                reader.problems.add((*at, "copies", copy), "there is no such store", closest(copy, stores))
        elsewhere = backup.restore_tests_on
        if elsewhere is None:
            continue
        if elsewhere not in environments:
            reader.problems.add(
                (*at, "restore_tests_on"), "there is no such environment", closest(elsewhere, environments)
            )
        elif environments[elsewhere].tier is Tier.PRODUCTION:
            reader.problems.add((*at, "restore_tests_on"), "restores are never tested on a production server")
