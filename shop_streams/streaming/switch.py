"""A stream's keep-alive sensor is its switch: on, the stream should run; off, it should rest."""

import dagster as dg

from shop_streams.streaming.spec import StreamSpec

SENSOR_TAG = "dagster/sensor_name"  # Dagster's tag on runs that a sensor requested


def keep_alive_name(stream: str) -> str:
    """The name of a stream's keep-alive sensor."""
    return f"keep_{stream}_alive"


def switched_off(instance: dg.DagsterInstance) -> set[str]:
    """The names of sensors and schedules that a person switched off."""
    return {state.instigator_name for state in instance.all_instigator_state() if not state.is_running}


class KeepAliveSwitch:
    """The switch of one stream, as one of its runs sees it."""

    def __init__(self, instance: dg.DagsterInstance, spec: StreamSpec, run: dg.DagsterRun) -> None:
        self.name = keep_alive_name(spec.name)
        self._instance = instance
        # A run that the sensor requested began with the switch on. For a run that a person started, the first call decides.
        self._was_on = True if run.tags.get(SENSOR_TAG) == self.name else None

    def turned_off(self) -> bool:
        """Whether the switch was turned off during this run; False for a run that a person started while it was off.

        Raises the errors of Dagster's storage.
        """
        is_on = self.name not in switched_off(self._instance)
        if self._was_on is None:
            self._was_on = is_on
        return self._was_on and not is_on
