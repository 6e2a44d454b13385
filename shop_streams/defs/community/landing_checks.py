"""The check of the landing folder itself: what lies there and is not read. No materialization would tell of it."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from shop_streams.defs.community.landing import NAMED, Landing
from shop_streams.defs.community.schema import STG_EVENTS
from shop_streams.lake.asset import asset_key
from shop_streams.lake.reader import Lake
from shop_streams.marts.spec import SourceMissing


def ignored_result(ignored: Mapping[str, str]) -> dg.AssetCheckResult:
    """The result for `Landing.ignored`. It names at most `NAMED` entries."""
    named = [f"{name}: {why}" for name, why in [*ignored.items()][:NAMED]]
    return dg.AssetCheckResult(
        passed=not ignored,
        severity=dg.AssetCheckSeverity.WARN,  # it may be meant; what is read is right
        description=f"{len(ignored)} entries are not read, the first: {named[0]}" if named else None,
        metadata={"entries_ignored": len(ignored), "ignored": "\n".join(named)},
    )


@dg.asset_check(
    asset=asset_key(STG_EVENTS),
    name="nothing_is_ignored",
    description="Everything in the landing folder is the folder of a date that is read, or is hidden by `_` or `.`.",
)
def nothing_is_ignored(lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    try:
        return ignored_result(Landing.of(lake.settings).ignored())
    except SourceMissing as error:
        return dg.AssetCheckResult(passed=True, description=str(error))
