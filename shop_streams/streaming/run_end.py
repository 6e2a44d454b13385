"""Why a stream's run ends without a failure: the stack is being stopped, the stream was switched off, or the run is old."""

from __future__ import annotations

import math
import time
from zlib import crc32

import dagster as dg

from shop_streams.settings import Settings
from shop_streams.streaming.rest import BEING_STOPPED, RestRequest
from shop_streams.streaming.spec import StreamSpec
from shop_streams.streaming.switch import KeepAliveSwitch

PATIENCE_SECONDS = 3600.0  # a batch that is cut off is repeated


def run_seconds(stream: str, settings: Settings) -> float:
    """How long a run of the stream lasts. At most a tenth more than `run_hours`, because streams must not all end at once."""
    return settings.run_hours * 3600 * (1 + crc32(stream.encode()) % 100 / 1000) if settings.run_hours else math.inf


class RunEnd:
    """The end of one run. Its methods raise the errors of PostgreSQL and of Dagster's storage."""

    def __init__(self, context: dg.OpExecutionContext, spec: StreamSpec, settings: Settings) -> None:
        self._rest_request = RestRequest.of(settings)
        self._switch = KeepAliveSwitch(context.instance, spec, context.run)
        self._hours = settings.run_hours
        self._ends_at = time.monotonic() + run_seconds(spec.name, settings)

    def stack_stops(self) -> bool:
        """Whether the stack is being stopped."""
        return self._rest_request.made()

    def rests(self) -> bool:
        """Whether the stream was switched off, so that no other run follows until it is switched on."""
        return not self.stack_stops() and not self._switch.is_on()

    def reason(self, busy: bool) -> str | None:
        """Why the run should end now, in words; None if it should go on. `busy`: a batch runs, or reports are not stored yet."""
        if self.stack_stops():
            return BEING_STOPPED
        if self._switch.turned_off():
            return f"{self._switch.name} was switched off: the stream rests"
        late = time.monotonic() - self._ends_at
        if late > (PATIENCE_SECONDS if busy else 0) and self._switch.starts_again():
            return f"the run has lasted for {self._hours:g} hours (RUN_HOURS): the next run continues"
        return None
