"""The code location's table of contents. Importing it reads and starts nothing."""

import dagster as dg

from shop_streams.defs import accounting, common, dead_letters, upkeep
from shop_streams.defs.app_events import assets as app_events
from shop_streams.defs.app_events import streams as app_events_streams
from shop_streams.defs.promotions import assets as promotions
from shop_streams.defs.promotions import streams as promotions_streams
from shop_streams.defs.sales import assets as sales
from shop_streams.defs.sales import streams as sales_streams

defs = dg.Definitions.merge(
    dg.Definitions(
        executor=dg.in_process_executor
    ),  # a run is one process: a second one costs seconds and brings nothing
    common.definitions,
    dead_letters.definitions,
    app_events_streams.definitions,
    app_events.definitions,
    sales_streams.definitions,
    sales.definitions,
    promotions_streams.definitions,
    promotions.definitions,
    accounting.definitions,
    upkeep.definitions,
)
