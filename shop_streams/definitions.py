"""The code location's table of contents. Importing it reads and starts nothing."""

import dagster as dg

from shop_streams.defs.app_events import marts as app_events
from shop_streams.defs.app_events import streams as app_events_streams
from shop_streams.defs.platform import accounting, checks, dead_letters, maintenance
from shop_streams.defs.promotions import marts as promotions
from shop_streams.defs.promotions import streams as promotions_streams
from shop_streams.defs.sales import marts as sales
from shop_streams.defs.sales import streams as sales_streams

defs = dg.Definitions.merge(
    dg.Definitions(
        executor=dg.in_process_executor
    ),  # a run is one process: a second one costs seconds and brings nothing
    checks.definitions,
    dead_letters.definitions,
    app_events_streams.definitions,
    app_events.definitions,
    sales_streams.definitions,
    sales.definitions,
    promotions_streams.definitions,
    promotions.definitions,
    accounting.definitions,
    maintenance.definitions,
)
