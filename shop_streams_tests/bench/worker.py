"""A program that stays warm in a process of its own: a job as a line of JSON in, its seconds as a line out."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ANSWER = "SECONDS "


class Worker:
    """A running program of this folder."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def seconds_of(self, **job: Any) -> float:
        """The seconds that the program says it took for `job`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended: its log says why
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return float(line.removeprefix(ANSWER))
        raise SystemExit(f"the baseline ended without an answer; its last words:\n{self._log.read_text()[-2000:]}")


@contextmanager
def worker(python: str, program: str, log: Path, *words: str) -> Iterator[Worker]:
    """Run `program` of this folder with `python` and `words`; it ends when its input does."""
    path = Path(__file__).with_name(program)
    # pyspark tells this process's children that Spark is a server elsewhere.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    with log.open("w") as said:
        process = subprocess.Popen(
            [python, str(path), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=environment,
        )  # fmt: skip
    try:
        yield Worker(process, log)
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]
        try:
            process.wait(30)  # by itself: a program that is terminated may leave its JVM behind
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
