"""The version of a mart's partition covers everything that its computation reads."""

from dataclasses import replace
from itertools import product

import pytest

from shop_streams.defs.app_events.marts import window_versions
from shop_streams.defs.sales.marts import MART, day_versions
from shop_streams.lake.reader import Lake
from shop_streams.marts.version import rows_of, stamped, version_of
from shop_streams.settings import Settings


def test_a_version_of_rows_alone_is_their_number() -> None:
    assert [version_of(0), version_of(7), version_of(7, 0), version_of(7, 0, 0)] == [0, 7, 7, 7]
    assert version_of(7, 1) > 2**36


def test_a_version_tells_each_fact_and_keeps_the_rows() -> None:
    facts = list(product((5, 6), (0, 1, 2), (0, 1, 2)))
    versions = {version_of(rows, *others) for rows, *others in facts}
    assert len(versions) == len(facts)
    assert {rows_of(version) for version in versions} == {5, 6}
    assert max(versions) < 2**63, "Delta's bigint holds it"


def test_another_code_version_is_another_version_and_the_first_changes_nothing() -> None:
    assert [stamped(version, 1) for version in (0, 7, version_of(7, 3))] == [0, 7, version_of(7, 3)]
    assert len({stamped(version_of(7, 3), code) for code in range(1, 100)}) == 99
    assert rows_of(stamped(version_of(7, 3), 2)) == 7


def test_a_higher_code_version_makes_every_partition_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lake, "version", lambda *_: 0)
    monkeypatch.setattr(Lake, "row_counts", lambda *_: {"2020-01-01": 5})
    monkeypatch.setattr(Lake, "value_counts", lambda *_: {})
    lake = Lake(Settings())
    assert MART.versions(lake) == {"2020-01-01": 5}
    assert replace(MART, code_version=2).versions(lake) == {"2020-01-01": stamped(5, 2)}


def test_the_version_of_a_day_covers_what_may_make_repeats_of_its_events() -> None:
    rows, with_id = {"2020-01-01": 5, "2020-01-08": 3, "2020-01-09": 2}, {"2020-01-01": 4, "2020-01-08": 1}
    assert day_versions(rows, with_id, 0) == {"2020-01-01": 5, "2020-01-08": 3 + 4, "2020-01-09": 2 + 1}


def test_the_version_of_a_day_covers_where_its_windows_begin() -> None:
    rows, with_id = {"2020-01-01": 5, "2020-01-08": 3}, {"2020-01-01": 4}
    shifted = day_versions(rows, with_id, 600)
    assert rows_of(shifted["2020-01-07"]) == 0 + 4 + 3, "its last hour reaches into the next day"
    assert shifted["2020-01-01"] != day_versions(rows, with_id, 601)["2020-01-01"]


DAYS = {"2020-01-01": 5, "2020-01-08": 3, "2020-01-09": 6}
WINDOWS = {"2020-01-08-00:00": 1, "2020-01-08-21:00": 2, "2020-01-09-03:00": 6}


def test_the_version_of_a_window_covers_what_may_make_repeats_of_its_events() -> None:
    versions = window_versions(WINDOWS, DAYS, {})
    assert {window: rows_of(version) for window, version in versions.items()} == WINDOWS

    def changed(rows: dict[str, int], days: dict[str, int]) -> set[str]:
        after = window_versions(rows, days, {})
        return {window for window in rows if after[window] != versions.get(window)}

    assert changed(WINDOWS, DAYS) == set()
    late_that_day = WINDOWS | {"2020-01-08-00:00": 2}
    assert changed(late_that_day, DAYS | {"2020-01-08": 4}) == set(WINDOWS), "and what comes after it"
    assert changed(WINDOWS, DAYS | {"2020-01-01": 6}) == {"2020-01-08-00:00", "2020-01-08-21:00"}, "7 days"
    assert changed(WINDOWS, DAYS | {"2019-12-31": 1}) == set()


def test_windows_of_an_earlier_version_stay_until_their_own_rows_change() -> None:
    recorded = WINDOWS | {"2020-01-08-21:00": 1}
    versions = window_versions(WINDOWS, DAYS, recorded)
    assert {window for window in WINDOWS if versions[window] != recorded[window]} == {"2020-01-08-21:00"}
    first = window_versions({"2020-01-01-00:00": 5}, {}, {})
    assert first["2020-01-01-00:00"] != 5, "a window with nothing before it is told from one of an earlier version"
