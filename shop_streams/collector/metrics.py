"""Counters for `/metrics`: every answer by endpoint and status, and every click by what became of it."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Answers:
    """The counters of answers and of clicks."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counter = Counter(
            "collector_answers", "Answers of the collector, by endpoint and HTTP status.", ["endpoint", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._children: dict[tuple[str, int], Counter] = {}
        self._clicks = Counter(
            "collector_clicks",
            "Clicks by outcome: recorded, corrupt (recorded, with a wrong checksum), or dropped, with the reason.",
            ["outcome", "reason"], registry=self._registry,
        )  # fmt: skip
        self._click_children: dict[tuple[str, str], Counter] = {}

    def count(self, endpoint: str, status: int) -> None:
        """Count one answer. Children are kept, because finding one by its labels costs more than counting."""
        child = self._children.get((endpoint, status))
        if child is None:
            child = self._children[endpoint, status] = self._counter.labels(endpoint, str(status))
        child.inc()

    def count_click(self, outcome: str, reason: str = "") -> None:
        """Count one click; `reason` says why one was dropped."""
        child = self._click_children.get((outcome, reason))
        if child is None:
            child = self._click_children[outcome, reason] = self._clicks.labels(outcome, reason)
        child.inc()

    def text(self) -> bytes:
        """In Prometheus' text format; with several workers, the sum over all of them."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # the library's own variable; set for workers only
            return generate_latest(self._registry)
        every = CollectorRegistry()
        MultiProcessCollector(every)
        return generate_latest(every)
