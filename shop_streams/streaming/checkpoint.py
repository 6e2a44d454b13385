"""Checkpoint metadata: values of a stream's first start, as small files in the checkpoint's folder notes/.

They are moved and deleted with the checkpoint. In a checkpoint on an object store, Spark reads and writes them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from pyarrow import fs
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from shop_streams.errors import ShopStreamsError


class CheckpointMismatch(ShopStreamsError):
    """A setting that the checkpoint can't follow has changed since the checkpoint was created."""

    next_step = "Follow one of the two ways in the message; the sensor tries again."


@dataclass(frozen=True)
class CheckpointMetadata:
    """The metadata of the checkpoint in `folder`."""

    spark: SparkSession
    folder: str

    def find(self, name: str) -> str | None:
        """The value, or None if it was never written."""
        if self._local:  # a Spark job for each value would take longer than the rest of a start
            parts = [path for path in self._local.joinpath(name).glob("part-*.txt") if path.is_file()]
            return parts[0].read_text().rstrip("\n") if parts else None
        try:
            rows = self.spark.read.text(f"{self.folder}/notes/{name}").collect()
        except AnalysisException as error:
            if "PATH_NOT_FOUND" in (error.getCondition() or ""):
                return None
            raise
        return rows[0].value if rows else None

    def get(self, name: str, first: Callable[[], str]) -> str:
        """The value; if there is none, write `first()`."""
        value = self.find(name)
        if value is None:
            value = first()
            self._write(name, value)
        return value

    @property
    def _local(self) -> Path | None:
        return None if "://" in self.folder else Path(self.folder, "notes")

    def _write(self, name: str, value: str) -> None:
        if self._local is None:
            frame = self.spark.createDataFrame([(value,)], "value string")
            frame.coalesce(1).write.mode("overwrite").text(f"{self.folder}/notes/{name}")
            return
        folder = self._local / name
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / "part-00000.txt"
        part.with_suffix(".unfinished").write_text(f"{value}\n")
        part.with_suffix(".unfinished").replace(part)

    def writer_id(self) -> str:
        """The id that the stream's Delta commits carry.

        Each checkpoint has another id, because a new checkpoint numbers its batches from 0 again.
        """
        return self.get("writer_id", lambda: uuid.uuid4().hex)

    def require_unchanged(self, settings: Mapping[str, str]) -> None:
        """Store each setting at the first start, and refuse another value later: Spark would keep the first one silently.

        Raises:
            CheckpointMismatch: names the setting, both values, and the two ways to continue.
        """
        for name, value in settings.items():
            stored = self.get(name, lambda value=value: value)  # type: ignore[misc]
            if stored != value:
                raise CheckpointMismatch(
                    f"{name} was {stored} when the checkpoint {self.folder} was created, and is {value} now. Set "
                    f"SHOP_STREAMS_{name.upper()}={stored} again. Or start from the earliest record: switch the stream off, "
                    "move the checkpoint and the stream's output away, and switch it on."
                )


def metadata_without_spark(folder: str, name: str) -> str | None:
    """The metadata `name` of the checkpoint in `folder`, or None; for checks and the command line."""
    part = next((one for one in sorted(names_in(folder, "notes", name)) if one.endswith(".txt")), None)
    lines = text_of(folder, "notes", name, part).splitlines() if part else []
    return lines[0] if lines else None


def write_metadata(folder: str, name: str, value: str) -> None:
    """Write one line as the metadata `name` of the checkpoint in `folder`, whole or not at all."""
    system, path = opened(folder, "notes", name)
    system.create_dir(path, recursive=True)
    with system.open_output_stream(f"{path}/_unfinished") as file:
        file.write(f"{value}\n".encode())
    system.move(f"{path}/_unfinished", f"{path}/part-00000.txt")


STARTING = "starting_offsets"
GENERATION = "topic_generation"
GENERATION_STEP = 1_000_000


@dataclass(frozen=True)
class Start:
    """Where a recovered stream starts, as its new checkpoint keeps it.

    `offsets`: partition -> first offset to read. `present`: partition -> spans [first, end) above it that the table has.
    """

    offsets: Mapping[int, int]
    present: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps({"offsets": dict(self.offsets), "present": {k: list(v) for k, v in self.present.items()}})

    @classmethod
    def of(cls, folder: str) -> Start | None:
        """The start in the checkpoint's metadata; None if the checkpoint was not recovered."""
        text = metadata_without_spark(folder, STARTING)
        if text is None:
            return None
        found = json.loads(text)
        spans = {int(number): [(first, end) for first, end in some] for number, some in found["present"].items()}
        return cls({int(number): offset for number, offset in found["offsets"].items()}, spans)


def partition_shift(folder: str) -> int:
    """What is added to a Kafka partition's number in the stream's rows and dead letters: 0 for the stream's first topic.

    A topic that was created again begins at offset 0. Its rows stay distinct, because its generation is a part of their
    partition's number: partition 2 of the third topic is 2,000,002.
    """
    return int(metadata_without_spark(folder, GENERATION) or 0) * GENERATION_STEP


@dataclass(frozen=True)
class PlannedBatch:
    """A batch that Spark has planned and not committed: partition -> offsets [start, end).

    `start` lacks partitions that no earlier batch has read.
    """

    batch_id: int
    start: dict[int, int]
    end: dict[int, int]


def committed_offsets(folder: str, topic: str) -> dict[int, int]:
    """Partition -> first offset that is not committed; before the first batch, that of a recovered start, or {}."""
    return _committed(folder, _last_batch(folder, "commits"), topic)


def _committed(folder: str, last: int | None, topic: str) -> dict[int, int]:
    if last is not None:
        return _offsets(folder, last, topic)
    start = Start.of(folder)
    return dict(start.offsets) if start else {}


def first_offsets(folder: str, topic: str) -> dict[int, int]:
    """Partition -> offset at which the checkpoint's first batch began; {} if that is not known."""
    start = Start.of(folder)
    if start is not None or "0" not in names_in(folder, "sources", "0"):
        return {}
    source: dict[str, dict[str, int]] = json.loads(text_of(folder, "sources", "0", "0").partition("\n")[2])
    return {int(number): offset for number, offset in source.get(topic, {}).items()}


def last_planned(folder: str) -> int | None:
    """The number of the last batch that Spark has planned; None before the first batch."""
    return _last_batch(folder, "offsets")


def has_a_place(folder: str) -> bool:
    """Whether the checkpoint knows where its stream continues: it has a batch, or a recovery has written its start."""
    return last_planned(folder) is not None or Start.of(folder) is not None


def topic_read(folder: str) -> str | None:
    """The topic of the checkpoint's last batch; None before the first batch."""
    last = _last_batch(folder, "offsets")
    return None if last is None else next(iter(_source(folder, last)), None)


def planned_batch(folder: str, topic: str) -> PlannedBatch | None:
    """The batch that the next start repeats; None if the last batch is committed."""
    planned, committed = _last_batch(folder, "offsets"), _last_batch(folder, "commits")
    if planned is None or planned == committed:
        return None
    return PlannedBatch(planned, _committed(folder, committed, topic), _offsets(folder, planned, topic))


def _last_batch(folder: str, kind: str) -> int | None:
    return max((int(name) for name in names_in(folder, kind) if name.isdecimal()), default=None)


def _offsets(folder: str, batch_id: int, topic: str) -> dict[int, int]:
    return {int(number): offset for number, offset in _source(folder, batch_id).get(topic, {}).items()}


def _source(folder: str, batch_id: int) -> dict[str, dict[str, int]]:
    """Topic -> partition -> end offset of a batch. Line 3 of Spark's offset log; our streams have one source."""
    source: dict[str, dict[str, int]] = json.loads(text_of(folder, "offsets", str(batch_id)).splitlines()[2])
    return source


def opened(folder: str, *below: str) -> tuple[fs.FileSystem, str]:
    """The file system of a folder or URI, and the path in it."""
    system, path = (
        fs.FileSystem.from_uri(folder.replace("s3a://", "s3://", 1))
        if "://" in folder
        else (fs.LocalFileSystem(), folder)
    )
    return system, "/".join([path, *below])


def names_in(folder: str, *below: str) -> list[str]:
    """The names in a folder of the checkpoint; [] if it does not exist.

    Raises:
        ShopStreamsError: the checkpoint can't be read.
    """
    try:
        system, path = opened(folder, *below)
        return [found.base_name for found in system.get_file_info(fs.FileSelector(path, allow_not_found=True))]
    except (OSError, pa.ArrowException) as error:
        raise ShopStreamsError(
            f"The checkpoint {folder} can't be read: {error}. Is SHOP_STREAMS_LAKE_URI right?"
        ) from error


def text_of(folder: str, *below: str) -> str:
    """The content of a file of the checkpoint."""
    system, path = opened(folder, *below)
    with system.open_input_file(path) as file:
        return bytes(file.read()).decode()
