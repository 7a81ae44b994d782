"""Which daemon should look after which environment: a pure function that all of them compute from the same facts."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def fair_shares(wanted: Mapping[str, Collection[str]], held: Mapping[str, str]) -> dict[str, str]:
    """The member for each environment that any member wants (`wanted` is by member, `held` by environment).

    Whoever holds an environment keeps it, unless another that wants it has at least two fewer. So nothing moves
    without need, and where all want the same, nobody has more than one more than another.
    """
    loads = dict.fromkeys(sorted(wanted), 0)
    wishes = {member: frozenset(environments) for member, environments in wanted.items()}
    shares: dict[str, str] = {}
    free: list[str] = []
    for environment in sorted(frozenset().union(*wishes.values())):
        holder = held.get(environment)
        if holder in wishes and environment in wishes[holder]:
            shares[environment] = holder
            loads[holder] += 1
        else:
            free.append(environment)
    for environment in free:
        member = min((one for one in loads if environment in wishes[one]), key=loads.__getitem__)
        shares[environment] = member
        loads[member] += 1
    while (move := _move(shares, loads, wishes)) is not None:
        environment, member = move
        loads[shares[environment]] -= 1
        loads[member] += 1
        shares[environment] = member
    return shares


def _move(
    shares: Mapping[str, str], loads: Mapping[str, int], wishes: Mapping[str, frozenset[str]]
) -> tuple[str, str] | None:
    """One move from a member that has too much to one that has less: the environment, and to whom."""
    if not loads or max(loads.values()) - min(loads.values()) < 2:
        return None
    for giver in sorted(loads, key=lambda member: (-loads[member], member)):
        for taker in sorted(loads, key=lambda member: (loads[member], member)):
            if loads[giver] - loads[taker] < 2:
                break
            able = [one for one, member in shares.items() if member == giver and one in wishes[taker]]
            if able:
                return max(able), taker
    return None
