"""The source of STG: the files of the landing folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heapreplace
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from shop_streams.defs.community.landing import NAMED, Folder, Landing
from shop_streams.defs.community.output import RESULT, UNREADABLE, File
from shop_streams.defs.community.reading import FILES, Reader
from shop_streams.defs.community.schema import SOURCE_VERSION, STG_EVENTS
from shop_streams.defs.community.shared_walk import SharedWalk
from shop_streams.errors import ShopStreamsError
from shop_streams.lake.reader import Lake
from shop_streams.marts.version import stamped
from shop_streams.rules import times_at
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.file_letters import replace_letters
from shop_streams.streaming.forgotten import forgotten

if TYPE_CHECKING:
    from shop_streams.marts.spec import Computation

DOMAIN = "community"
TASK_BYTES = 64 * 1_048_576  # read by one task
ROW_BYTES = 100  # of a delivered row; compressed ones have less, JSON lines more
FILE_BYTES = 100_000  # what opening a file costs, in bytes that are read meanwhile
MOST_TASKS = 200
FILE_COLUMNS = pa.schema(
    [
        ("path", pa.binary()), ("file", pa.string()), ("folder_date", pa.date32()),
        ("size", pa.int64()), ("modified", pa.int64()), ("task", pa.int32()),
    ]
)  # fmt: skip


class FolderGone(ShopStreamsError):
    """A date has been loaded, and its folder is no longer there."""


@dataclass(frozen=True)
class LandingSource:
    """The landing folder as a source: the partitions are its dates.

    A date whose folder has vanished keeps what was loaded of it; a folder without files empties its date.

    Attributes:
        code_version: that of the mart. A vanished date keeps the version that it has.
        loads: metadata of the dates that this process has read.
        walk: shared by the sensors of this process.
    """

    code_version: int = 1
    loads: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)
    walk: SharedWalk = field(default_factory=SharedWalk, compare=False, repr=False)

    @property
    def deps(self) -> tuple[dg.AssetKey, ...]:
        return (dg.AssetKey([DOMAIN, "raw_files"]),)

    def snapshot(self, lake: Lake) -> int:
        """0: files have no earlier states.

        Raises:
            SourceMissing: there is no landing folder, or it can't be read.
        """
        Landing.of(lake.settings)
        return 0

    def versions(self, lake: Lake, snapshot: int) -> Mapping[str, int]:
        """Date -> version of its files; of a vanished date the version that it was loaded with."""
        # `Mart.versions` stamps all versions. To stamp twice gives the number itself.
        loaded = {key: stamped(found, self.code_version) for key, found in lake.source_versions(STG_EVENTS).items()}
        return {**loaded, **self.walk.versions(Landing.of(lake.settings))}

    def sizes(self, lake: Lake, keys: Sequence[str]) -> dict[str, int]:
        """Date -> about how many rows its files have, for `Mart.sizes`: the version counts files."""
        folders = Landing.of(lake.settings).of_dates(keys)
        return {key: 0 if one is None else sum(f.size for f in one.files) // ROW_BYTES for key, one in folders.items()}

    def read(self, spark: SparkSession, lake: Lake, computation: Computation) -> DataFrame:
        """The rows of the dates `computation.keys`, with STG's columns but `source_rows`. The files are read now, once.

        Dead letters of these dates are replaced first: if the rows can't be written, both are written again later.

        Raises:
            FolderGone: the folder of a loaded date has vanished.
            SourceMissing: there is no landing folder, or it can't be read.
        """
        landing = Landing.of(lake.settings)
        found = landing.of_dates(computation.keys)
        loaded = lake.source_versions(STG_EVENTS)
        if gone := sorted(key for key, folder in found.items() if folder is None and key in loaded):
            raise FolderGone(
                f"The landing folder has no folder date={gone[0]} any more, so the date can't be loaded again ({len(gone)} such "
                "dates). Its rows stay. To empty it, make the folder without files."
            )
        folders = {key: folder for key, folder in found.items() if folder is not None}
        times = times_at(lake.settings.first_day, datetime.now(UTC))
        result = load(
            spark,
            [file for folder in folders.values() for file in folder.files],
            Reader(landing.root, times, forgotten(lake.settings.postgres, DOMAIN)),
        )
        counts = result.where("files is not null").groupBy("folder_date")
        sums = counts.agg(*[F.sum(name).alias(name) for name in ("files", "rows", "refused")]).collect()
        counted = {row["folder_date"].isoformat(): row.asDict() for row in sums}
        DEAD_LETTERS.create(spark, lake.settings)
        letters = letters_of(result, folders.values())
        replace_letters(lake.settings, DOMAIN, [f"date={key}" for key in folders], letters.drop_columns("folder_date"))
        for key, folder in folders.items():
            mine = letters.filter(pc.equal(letters["folder_date"], pa.scalar(folder.folder_date)))
            self.loads[key] = load_metadata(folder, counted.get(key, {}), mine)
        columns = [column.name for column in STG_EVENTS.columns if column != SOURCE_VERSION]
        return result.where("event_id is not null").select(*columns)

    def totals(self, lake: Lake, key: str) -> dict[str, Any]:
        """Metadata of the date that this process has read last, for `Mart.totals`."""
        return self.loads.pop(key, {})


def load(spark: SparkSession, files: Sequence[File], reader: Reader) -> DataFrame:
    """Read the files in Spark's workers, once; the result has the columns of `RESULT`.

    Spark keeps it in memory or on its disk as long as the DataFrame is in use.
    """
    task_of = tasks([file.size for file in files])
    columns = [*zip(*files, strict=True)] or [()] * len(File._fields)
    arrays = [pa.array(column, one.type) for column, one in zip([*columns, task_of], FILE_COLUMNS, strict=True)]
    table = spark.createDataFrame(pa.Table.from_arrays(arrays, schema=FILE_COLUMNS))
    spread = table.repartitionById(max(task_of, default=0) + 1, F.col("task"))
    names = [part.split()[0] for part in FILES.split(", ")]
    return spread.select(*names).mapInArrow(reader.batches, RESULT).localCheckpoint(True, StorageLevel.MEMORY_AND_DISK)


def tasks(sizes: Sequence[int]) -> list[int]:
    """The task of each file: at least two for two files, each with about the same work; the largest files first."""
    costs = [size + FILE_BYTES for size in sizes]
    number = max(1, min(len(sizes), MOST_TASKS, max(2, sum(costs) // TASK_BYTES)))
    found, heap = [0] * len(sizes), [(0, task) for task in range(number)]
    for index in sorted(range(len(sizes)), key=lambda index: -costs[index]):
        cost, task = heap[0]
        found[index] = task
        heapreplace(heap, (cost + costs[index], task))
    return found


def letters_of(result: DataFrame, folders: Iterable[Folder]) -> pa.Table:
    """The letters of these dates: folder_date, file, line, raw, reason. Each task gives a limited number of them."""
    columns = ["folder_date", "file", "line", "raw", "reason"]
    found = (
        result.where("reason is not null")
        .select(*columns)
        .toArrow()
        .sort_by([("file", "ascending"), ("line", "ascending")])
    )
    closed = [
        dict(zip(columns, (one.folder_date, name, None, None, f"{UNREADABLE}{why}"), strict=True))
        for one in folders
        for name, why in one.closed
    ]
    return pa.concat_tables([found, pa.Table.from_pylist(closed, schema=found.schema)])


def load_metadata(folder: Folder, counts: Mapping[str, Any], letters: pa.Table) -> dict[str, Any]:
    """What the UI shows of a loaded date. `unreadable` and `links_not_followed` name at most `NAMED`."""
    unreadable = [
        f"{file}: {reason.removeprefix(UNREADABLE)}"
        for file, reason in zip(letters["file"].to_pylist(), letters["reason"].to_pylist(), strict=True)
        if reason.startswith(UNREADABLE)
    ]
    return {
        "files": len(folder.files),
        "rows_read": int(counts.get("rows") or 0),
        "rows_refused": int(counts.get("refused") or 0),
        "files_unreadable": len(unreadable),
        "unreadable": "\n".join(unreadable[:NAMED]),
        "links_not_followed": ", ".join(folder.links[:NAMED]),
        "files_of_other_kinds": folder.others,
    }
