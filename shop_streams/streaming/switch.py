"""A stream's keep-alive sensor is its switch: on, the stream should run; off, it should rest."""

import time

import dagster as dg

from shop_streams.streaming.spec import StreamSpec

SENSOR_TAG = "dagster/sensor_name"  # Dagster's tag on runs that a sensor requested
TICKED_SECONDS = 60.0  # a sensor ticks every 5 s
LOCATION = "shop_streams"  # the code location's name, however the stack is started


def keep_alive_name(stream: str) -> str:
    """The name of a stream's keep-alive sensor."""
    return f"keep_{stream}_alive"


def location_of(run: dg.DagsterRun) -> str:
    """The name of the code location that a run belongs to; `LOCATION` for a run that was not started through one."""
    origin = run.remote_job_origin
    return LOCATION if origin is None else str(origin.location_name)


def switched_off(instance: dg.DagsterInstance, location: str = LOCATION) -> set[str]:
    """The names of sensors and schedules of the code location `location` that a person switched off.

    Dagster keeps the switches of all locations together, also of those that exist no more. Another location may have a sensor
    of the same name.
    """
    return {
        state.instigator_name
        for state in instance.all_instigator_state()
        if not state.is_running and state.origin.location_name == location
    }


class KeepAliveSwitch:
    """The switch of one stream, as one of its runs sees it."""

    def __init__(self, instance: dg.DagsterInstance, spec: StreamSpec, run: dg.DagsterRun) -> None:
        self.name = keep_alive_name(spec.name)
        self._instance = instance
        self._location = location_of(run)
        # A run that the sensor requested began with the switch on. For a run that a person started, the first call decides.
        self._was_on = True if run.tags.get(SENSOR_TAG) == self.name else None

    def is_on(self) -> bool:
        """Whether the stream should run. Raises the errors of Dagster's storage."""
        return self.name not in switched_off(self._instance, self._location)

    def starts_again(self) -> bool:
        """Whether the sensor would start the next run: it is on, and its last tick was a moment ago and without an error."""
        for state in self._instance.all_instigator_state():
            if state.instigator_name == self.name and state.origin.location_name == self._location and state.is_running:
                ticked = getattr(state.instigator_data, "last_tick_success_timestamp", None) or 0.0
                return abs(time.time() - ticked) < TICKED_SECONDS
        return False

    def turned_off(self) -> bool:
        """Whether the switch was turned off during this run; False for a run that a person started while it was off.

        Raises the errors of Dagster's storage.
        """
        is_on = self.is_on()
        if self._was_on is None:
            self._was_on = is_on
        return self._was_on and not is_on
