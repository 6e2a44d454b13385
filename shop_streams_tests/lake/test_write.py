"""A batch is appended once, also when it is repeated, or raced by a query that should be dead."""

import threading
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from shop_streams.lake.write import append_small_batch


def test_a_small_batch_is_appended_once_even_if_writers_race(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    write_deltalake(uri, pa.table({"day": pa.array([], pa.string()), "batch": pa.array([], pa.int64())}))
    problems: list[BaseException] = []

    def append(batch: int, together: threading.Barrier) -> None:
        together.wait()
        try:
            append_small_batch(pa.table({"day": ["2026-01-01"], "batch": [batch]}), uri, "writer", batch)
        except BaseException as problem:  # asserted on in the test's own thread
            problems.append(problem)

    for batch in range(8):
        together = threading.Barrier(3)
        threads = [threading.Thread(target=append, args=(batch, together)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    append_small_batch(pa.table({"day": ["2026-01-01"], "batch": [3]}), uri, "writer", 3)
    assert problems == []
    assert sorted(DeltaTable(uri).to_pyarrow_table()["batch"].to_pylist()) == list(range(8))
