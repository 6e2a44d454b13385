"""Facts that must stay as they were at a stream's first start, kept as small files inside its checkpoint folder.

They are written through Spark, so they live wherever the checkpoint does, and vanish with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession


class CheckpointMismatch(Exception):
    """A setting that the checkpoint can't follow has changed since it was made."""


@dataclass(frozen=True)
class CheckpointNotes:
    """The notes of the checkpoint in `folder`."""

    spark: SparkSession
    folder: str

    def find(self, name: str) -> str | None:
        """The note, or None when it was never taken."""
        try:
            rows = self.spark.read.text(f"{self.folder}/notes/{name}").collect()
        except AnalysisException as error:
            if "PATH_NOT_FOUND" in (error.getCondition() or ""):
                return None
            raise
        return rows[0].value if rows else None

    def get(self, name: str, first: Callable[[], str]) -> str:
        """The note; `first()` gives it at the first start."""
        value = self.find(name)
        if value is None:
            value = first()
            frame = self.spark.createDataFrame([(value,)], "value string")
            frame.coalesce(1).write.mode("overwrite").text(f"{self.folder}/notes/{name}")
        return value

    def writer_id(self) -> str:
        """Who the stream's writes say that they are.

        Tied to the checkpoint: a new checkpoint counts its batches from 0 again, and must not be taken for the old.
        """
        return self.get("writer_id", lambda: uuid.uuid4().hex)

    def pin(self, facts: Mapping[str, str]) -> None:
        """Note each fact at the first start, and refuse another value later: Spark would quietly go on with the old one.

        Raises:
            CheckpointMismatch: says which fact, both values, and the two ways out.
        """
        for name, value in facts.items():
            noted = self.get(name, lambda value=value: value)  # type: ignore[misc]
            if noted != value:
                raise CheckpointMismatch(
                    f"{name} was {noted} when the checkpoint {self.folder} was made, and is {value} now. "
                    f"Set SHOP_STREAMS_{name.upper()}={noted} again; or let the stream begin anew: switch it off, move "
                    "the checkpoint away together with what the stream wrote, and switch it on."
                )
