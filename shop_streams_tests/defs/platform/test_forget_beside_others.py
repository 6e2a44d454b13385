"""`forget-user` beside others: runs that write dead letters of delivered files, and another removal."""

from collections.abc import Sequence

import pytest

from shop_streams.defs.app_events.domain import DOMAIN as APP_EVENTS
from shop_streams.defs.app_events.marts import MART
from shop_streams.defs.app_events.schema import EVENTS
from shop_streams.defs.community.persons import PERSONS as COMMUNITY_PERSONS
from shop_streams.defs.community.schema import STG_EVENTS
from shop_streams.defs.platform.copies import copies_of
from shop_streams.defs.platform.forget import Request, remove
from shop_streams.domain import Domain
from shop_streams.lake import reader
from shop_streams.lake.forget import STALE
from shop_streams.lake.reader import Lake
from shop_streams.settings import Settings
from shop_streams.streaming.dead_letters import DEAD_LETTERS
from shop_streams.streaming.forgotten import AnotherRemoval, forgotten
from shop_streams_tests.defs.platform.forgetting import DAY, NOON, content, event, removed, run, write
from shop_streams_tests.streaming.letter_table import create_letters
from shop_streams_tests.streaming.test_forget_files import FOLDER, MINE, OTHERS, deliver

pytestmark = pytest.mark.servers

COMMUNITY = Domain("community", (), (), persons=COMMUNITY_PERSONS)


def test_letters_that_a_run_writes_meanwhile_are_removed_too(home: Settings) -> None:
    create_letters(home)
    deliver(home, {("a.json", 1): MINE, ("a.json", 2): OTHERS})
    looks = 0

    def running(_domains: Sequence[Domain]) -> set[str]:
        nonlocal looks
        looks += 1
        if looks == 2:  # a run that does not know of the removal has loaded the folder
            deliver(home, {("a.json", 1): MINE, ("a.json", 2): OTHERS, ("a.json", 3): MINE})
        return {"run-1"} if looks == 1 else set()

    outcome = remove(Request(home, [COMMUNITY], "17"), running, stream_seconds=0)
    assert removed(outcome) == {"dead_letters of community": 3} and outcome.unfinished == []
    assert reader.scan(DEAD_LETTERS.uri(home), ["line"])["line"].to_pylist() == [2]


def test_a_second_removal_at_the_same_time_is_refused(home: Settings) -> None:
    told = []

    def running(_domains: Sequence[Domain]) -> set[str]:
        with pytest.raises(
            AnotherRemoval, match=r"^Another removal is running\. Wait for it, then run the command again\.$"
        ):
            run(home, "5", COMMUNITY)
        told.append(forgotten(home.postgres, "community").leaves_out("5", NOON))
        return set()

    remove(Request(home, [COMMUNITY], "17"), running, stream_seconds=0)
    assert told == [False], "nothing was begun"
    assert run(home, "5", COMMUNITY).unfinished == []


def test_rows_that_arrive_during_the_removal_do_not_hide_it_from_the_mart(home: Settings) -> None:
    write(home, EVENTS, event(17, 0), event(5, 1), event(5, 2, NOON - 9 * DAY))
    for window, version in MART.versions(Lake(home)).items():
        write(home, MART.table, {"user_id": 5, "window": window, "source_rows": version})
    before = MART.recorded(Lake(home))

    def running(_domains: Sequence[Domain]) -> set[str]:
        if len(content(home, EVENTS)) == 2:
            write(home, EVENTS, event(6, 3))  # as many rows as before the removal
        return set()

    remove(Request(home, [APP_EVENTS], "17"), running, stream_seconds=0)
    assert MART.versions(Lake(home)) == before, "by its number of rows, the window has not changed"
    assert MART.recorded(Lake(home)) == before | {"2026-11-20-12:00": STALE}
    assert len(before) == 2


def test_files_of_refused_rows_are_copies_too_and_letters_that_cannot_be_decoded_are_told_with_their_line(
    home: Settings,
) -> None:
    create_letters(home)
    deliver(
        home,
        {("a.json", 1): MINE, ("a.json", 2): MINE, ("b.json", 1): OTHERS, ("c.json", 4): b'{"event": {"user": 17, "'},
    )
    write(home, STG_EVENTS, {"user_id": 17, "folder_date": NOON.date(), "file": "date=2026-11-20/d.json"})
    told = [one.what for one in copies_of(Request(home, [COMMUNITY], "17"), [])]
    assert f"2 files of the landing folder: {FOLDER}/a.json, date=2026-11-20/d.json" in told
    assert f"dead letters that can't be decoded and contain the id: {FOLDER}/c.json:4" in told
