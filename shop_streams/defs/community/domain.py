"""The domain community: where users are, what happens in the zones, and who may want to know whom."""

from __future__ import annotations

import dagster as dg

from shop_streams.defs.community.marts import LOAD, MARTS
from shop_streams.defs.community.persons import PERSONS
from shop_streams.domain import Domain

RAW = dg.AssetSpec(
    ["community", "raw_files"],
    description="One row is one row of a delivered file below the landing folder: JSON lines or Parquet, in a folder of its date.",
    group_name="community",
    kinds={"file"},
    owners=["team:community"],
)

DOMAIN = Domain("community", owners=("team:community",), streams=(), marts=MARTS, more_assets=(RAW,), persons=PERSONS)

definitions = dg.Definitions.merge(DOMAIN.definitions(), dg.Definitions(jobs=[LOAD]))
