"""Several daemons on one state database: who lives, and which environments each of them looks after."""

from daemon.cluster._instance import read_instance
from daemon.cluster._leases import MemberView
from daemon.cluster._membership import Membership
from daemon.cluster._shares import fair_shares

__all__ = ["MemberView", "Membership", "fair_shares", "read_instance"]
