"""A stream's keep-alive sensor as its switch: on means that it should run, off that it should rest."""

import dagster as dg

from shop_streams.streaming.spec import StreamSpec

SENSOR_TAG = "dagster/sensor_name"  # Dagster's own, on each run that a sensor asked for


def keep_alive_name(stream: str) -> str:
    """The name of a stream's keep-alive sensor."""
    return f"keep_{stream}_alive"


def switched_off(instance: dg.DagsterInstance) -> set[str]:
    """The names of the sensors and schedules that a person switched off."""
    return {state.instigator_name for state in instance.all_instigator_state() if not state.is_running}


class KeepAliveSwitch:
    """The stream's keep-alive sensor as a switch: switched off means that the run which it started shall rest."""

    def __init__(self, instance: dg.DagsterInstance, spec: StreamSpec, run: dg.DagsterRun) -> None:
        self.name = keep_alive_name(spec.name)
        self._instance = instance
        # The sensor's own run may have taken a while to start: whoever switched it off meanwhile meant this run too.
        # Of a person's run the first look decides.
        self._was_on = True if run.tags.get(SENSOR_TAG) == self.name else None

    def turned_off(self) -> bool:
        """Whether somebody switched it off; a run that a person started while it is off goes on.

        Raises what Dagster's storage raises while it is away.
        """
        is_on = self.name not in switched_off(self._instance)
        if self._was_on is None:
            self._was_on = is_on
        return self._was_on and not is_on
