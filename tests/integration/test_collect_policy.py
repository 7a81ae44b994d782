"""Promises are known even where the environment is not."""

from collections.abc import Callable

from collectors import Target
from collectors.policy import PolicyCollector
from fleet.environment import Environment
from fleet.policy import Tier
from fleet.secrets import SecretText
from tests.integration.sites import Site, collected


async def test_promises_need_no_server(site: Site, make_target: Callable[..., Target]) -> None:
    gone = Environment(name="gone", tier=Tier.PRODUCTION, dsn=SecretText("postgresql://u@127.0.0.1:1/d"))
    assert await collected(PolicyCollector, make_target(gone)) != {}
    found = await collected(PolicyCollector, site.target(tier="qa"))
    assert found["custode_policy_schema_reference"] == {(): 0}
    assert found["custode_policy_backup_interval_seconds"] == {}
