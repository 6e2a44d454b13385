"""Which runs rest when their stream's keep-alive sensor is switched off."""

import dagster as dg
import pytest

from shop_streams.defs.sales.streams import INGEST
from shop_streams.streaming import switch
from shop_streams.streaming.switch import SENSOR_TAG, KeepAliveSwitch, keep_alive_name

NAME = keep_alive_name(INGEST.name)
SENSORS_RUN = dg.DagsterRun("shop_events_ingest_stream", tags={SENSOR_TAG: NAME})
PERSONS_RUN = dg.DagsterRun("shop_events_ingest_stream")


@pytest.mark.parametrize(
    ("run", "off_at_the_start", "rests"),
    [(SENSORS_RUN, False, True), (SENSORS_RUN, True, True), (PERSONS_RUN, False, True), (PERSONS_RUN, True, False)],
)
def test_a_stream_that_is_switched_off_while_it_starts_rests_too(
    run: dg.DagsterRun, off_at_the_start: bool, rests: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = {NAME} if off_at_the_start else set()
    monkeypatch.setattr(switch, "switched_off", lambda _instance, _location: off)
    instance = dg.DagsterInstance.ephemeral()
    the_switch = KeepAliveSwitch(instance, INGEST, run)
    assert the_switch.turned_off() == (run is SENSORS_RUN and off_at_the_start)
    off.add(NAME)
    assert the_switch.turned_off() == rests
