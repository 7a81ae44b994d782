"""Our side of the refresh figures, in a process of its own: `python -m tests.bench.refresh_ours QA PRODUCTION FOLDER`.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

from actions import Job
from actions.refresh import Refresh
from daemon.tuning import tune_process
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, ConsentPolicy, DataPolicy, Tier
from fleet.secrets import SecretText
from fleet.stores.local import LocalStore
from tests.bench.backup_ours import _act
from tests.integration.actions_kit import at_work, close, job_for

COLUMNS: dict[str, Any] = {
    "knowledge_items": dict.fromkeys(("id", "title"), "keep"),
    "knowledge_chunks": dict.fromkeys(("id", "item_id", "chunk_text", "embedding", "created_at"), "keep"),
    "feed_status": dict.fromkeys(("id", "feed_url"), "keep"),
    "users": {
        **dict.fromkeys(("id", "created_at"), "keep"),
        "email": "mask:email",
        "hashed_password": "mask:hash",
        "full_name": "mask:name",
        "phone": "mask:phone",
    },
    "conversations": "empty",
    "messages": "empty",
}
TEST_USERS = """
    insert into users (email, hashed_password)
    values ('qa_test1@qa.invalid', 'hashed_password_1'), ('qa_test2@qa.invalid', 'hashed_password_2')
"""


def _environment(name: str, tier: Tier, dsn: str, data: DataPolicy) -> Environment:
    policy = TIER_DEFAULTS[tier].model_copy(update={"data": data, "consent": ConsentPolicy()})
    database = dsn.split("?", maxsplit=1)[0].rpartition("/")[2]
    values = {"name": name, "tier": tier, "dsn": SecretText(dsn), "databases": (database,), "policy": policy}
    return Environment.model_validate({**values, "tls": {"mode": "disable"}})


async def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    key = arguments.directory / "mask.key"
    key.write_text("k" * 64)
    data = DataPolicy.model_validate({"columns": COLUMNS, "mask_key": f"file:{key}", "test_data": [TEST_USERS]})
    qa = _environment("qa", Tier.QA, arguments.qa, data)
    production = _environment("production", Tier.PRODUCTION, arguments.production, DataPolicy())
    store = LocalStore(LocalStore.Options(path=arguments.directory / "store"))
    opened: list[Job] = []

    def elsewhere(_name: str) -> Job:
        opened.append(job_for(production))
        return opened[-1]

    tiers = {"qa": Tier.QA, "production": Tier.PRODUCTION}
    async with at_work(qa, stores={"local": store}, elsewhere=elsewhere, tiers=tiers) as job:
        told = await _act(job, Refresh(), {})
    for each in opened:
        await close(each)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("qa")
    parser.add_argument("production")
    parser.add_argument("directory", type=Path)
    importlib.import_module("daemon.app")  # the memory is to be that of a daemon
    tune_process()  # as it does
    print(json.dumps(asyncio.run(_measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
