"""The code location: Dagster loads the definitions from the folder defs/. The import connects to no server."""

from functools import cache
from pathlib import Path

import dagster as dg

from shop_streams.lake.reader import Lake
from shop_streams.settings import get_settings
from shop_streams.spark import SparkConnect

settings = cache(get_settings)  # once for each process: each tick of a sensor asks for them

defs = dg.Definitions.merge(
    dg.load_from_defs_folder(path_within_project=Path(__file__)),
    dg.Definitions(
        executor=dg.in_process_executor,  # a second process for each op would cost seconds
        resources={
            "spark": SparkConnect(),
            "settings": dg.ResourceDefinition(lambda _context: settings()),
            "lake": dg.ResourceDefinition(lambda _context: Lake(settings())),
        },
    ),
)
