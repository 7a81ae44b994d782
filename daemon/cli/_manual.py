"""What the help of every command ends with: examples, and what its exit status says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import typer

EXIT_STATUS: Mapping[int, str] = {
    0: "well",
    1: "something is wrong with the fleet, or an action did not help",
    2: "something is wrong with the request or the setup",
    130: "interrupted by Ctrl-C",
    141: "who read the output went away",
}

# by the words of the command; "DIR", "ID" and the like are for the reader to fill in
EXAMPLES: Mapping[str, Sequence[str]] = {
    "run": ("custode run", "custode run -c /etc/custode/custode.yml"),
    "once": ("custode once", "custode once --metrics | promtool check metrics"),
    "status": ("custode status", "custode status --json | jq '.alerts'"),
    "healthy": ("custode healthy", "custode healthy --ready -c /etc/custode/custode.yml"),
    "doctor": ("custode doctor", "custode doctor --environment production", "custode doctor --json > report.json"),
    "token": ("custode token prometheus", "custode token --password anna"),
    "service": ("custode service > /etc/systemd/system/custode.service",),
    "backup": ("custode backup production", "custode backup production --dry-run", "custode backup qa -d app --detach"),
    "backups list": ("custode backups list production",),
    "backups show": ("custode backups show production latest",),
    "backups calendar": ("custode backups calendar production --days 30",),
    "backups simulate": ("custode backups simulate production --days 365",),
    "backups export": ("custode backups export production latest --to app.dump",),
    "backups prune": ("custode backups prune production --dry-run",),
    "backups verify": ("custode backups verify production", "custode backups verify production latest --read-data"),
    "backups pin": ("custode backups pin production latest --reason 'before the audit'",),
    "restore": (
        "custode restore production --dry-run",
        "custode restore production --at 2026-11-20T14:00:00+01:00 --into app_look",
        "custode restore production --tables public.users --into app_users",
    ),
    "recover": ("custode recover production --dry-run", "custode recover production --drill"),
    "migrate": ("custode migrate qa --plan", "custode migrate qa", "custode migrate qa +1 --reason 'ticket 7'"),
    "schema status": ("custode schema status", "custode schema status qa --json"),
    "schema diff": ("custode schema diff qa", "custode schema diff qa --against production --sql"),
    "schema explain": ("custode schema explain qa", "custode schema explain qa --draft > repair.py"),
    "schema fingerprint": ("custode schema fingerprint production",),
    "index list": ("custode index list", "custode index list production --json"),
    "index advise": ("custode index advise production", "custode index advise production ix_chunks_embedding"),
    "index probe": ("custode index probe production", "custode index probe qa ix_chunks_embedding --queries 50"),
    "data plan": ("custode data plan qa",),
    "data classify": ("custode data classify qa",),
    "data mask": ("custode data mask qa users --preview",),
    "data refresh": ("custode data refresh qa --dry-run", "custode data refresh qa --from-backup"),
    "data scan": ("custode data scan qa", "custode data scan qa --rows 10000"),
    "cleanup": ("custode cleanup production --dry-run", "custode cleanup production --table messages --share 0.2"),
    "disk": ("custode disk", "custode disk production", "custode disk production --relieve"),
    "reset": ("custode reset development --dry-run", "custode reset qa --refresh --reason 'new quarter'"),
    "act": (
        "custode act vacuum qa --dry-run",
        "custode act analyze production -p relname=messages",
        "custode act vacuum qa --detach --reason 'after the load'",
    ),
    "actions list": ("custode actions list", "custode actions list --environment production --state waiting"),
    "actions show": ("custode actions show ID",),
    "actions approve": ("custode actions approve ID", "custode actions approve ID --yes --reason 'read it'"),
    "actions reject": ("custode actions reject ID --reason 'not before the release'",),
    "actions cancel": ("custode actions cancel ID",),
    "actions pause": ("custode actions pause ID",),
    "actions resume": ("custode actions resume ID",),
    "actions retry": ("custode actions retry ID",),
    "actions follow": ("custode actions follow ID",),
    "stop-actions": ("custode stop-actions --reason 'storage is being moved'", "custode stop-actions --release"),
    "silence add": ("custode silence add alertname=IndexBloated environment=qa --for 1d --comment 'ticket 7'",),
    "silence extend": ("custode silence extend ID --for 1d",),
    "silence expire": ("custode silence expire ID",),
    "silence list": ("custode silence list",),
    "ledger": ("custode ledger --environment production --since 2d", "custode ledger --follow --json"),
    "list": ("custode list rules", "custode list actions --json | jq -r '.[].name'"),
    "check": ("custode check", "custode check --connect", "custode check --example > custode.yml"),
    "rules check": ("custode rules check", "custode rules check rules/*.yml --lint"),
    "rules test": ("custode rules test rules/tests/*.yml",),
    "state check": ("custode state check",),
    "state migrate": ("custode state migrate",),
    "demo": ("custode demo", "custode demo --keep /var/tmp/custode-demo --port 9188"),
}


def add_epilogs(app: typer.Typer, above: str = "") -> None:
    """Give each command of `app` that is in the table its examples."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        command.epilog = "\n\n".join(_epilog(EXAMPLES.get(f"{above}{name}", ())))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_epilogs(group.typer_instance, f"{above}{group.name} ")


def _epilog(examples: Sequence[str]) -> Iterator[str]:
    # \b at the head of a paragraph keeps its lines as they are
    if examples:
        yield "\n".join(("\b", "Examples:", *(f"  {line}" for line in examples)))
    yield "\n".join(("\b", "Exit status:", *(f"  {status:<4} {meaning}" for status, meaning in EXIT_STATUS.items())))
