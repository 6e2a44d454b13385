"""Two stacks on one database: each stream runs in one of them, and the other says which one."""

from __future__ import annotations

from pathlib import Path

from shop_streams.streaming.lease import Lease
from shop_streams.streaming.rest import find_stack_id


def held_elsewhere(lease: Lease | None, ttl: float, home: Path) -> str | None:
    """Which other stack than that of `home` holds the lease now, and what to do; None if no other one does.

    A copy of a home has the id of the original, so the folder counts too. A lease of an earlier version has no id and counts
    as this stack's.
    """
    if lease is None or lease.stack is None or not lease.fresh(ttl):
        return None
    if (lease.stack, lease.home) == (find_stack_id(home), str(home.resolve())):
        return None
    return (
        f"another stack on the same database runs {lease.stream}: that of the home {lease.home} on host {lease.host} "
        f"(pid {lease.pid}). Stop one of the two with `shop-streams down`, or set SHOP_STREAMS_POSTGRES_DSN to another "
        "database for one of them"
    )
