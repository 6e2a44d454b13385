"""The tag in a real browser, on the pages of a shop; every event that arrives is decoded and its checksum verified."""

import re
import time

import pytest
from playwright.sync_api import BrowserContext, Page

from shop_streams_tests.web.sites import Collector, Shop

pytestmark = pytest.mark.servers
IDS = ("partyId", "sessionId", "pageViewId", "isNewPartyId", "isFirstInSession", "isServerPageView")
DAY = 86_400
# The browser shows each page of a test, so it is told otherwise.
HIDDEN = "Object.defineProperty(document, 'visibilityState', { get: () => window.state || 'hidden' })"
SHOW = "window.state = 'visible'; document.dispatchEvent(new Event('visibilitychange'))"


def ids(page: Page) -> list[object]:
    found: list[object] = page.evaluate(f"[{', '.join(f'divolte.{name}' for name in IDS)}]")
    return found


def test_page_views_of_a_visit(page: Page, context: BrowserContext, shop: Shop, collector: Collector, tag: str) -> None:
    first = shop.page("/", tag, '<a href="/katalog/item/чай/?a=1&b=%20#c">tea</a>')
    second = shop.page("/katalog/item/%D1%87%D0%B0%D0%B9/", tag)
    before = time.time()
    page.goto(first)
    (one,) = collector.events(1)
    assert (one.kind, one.location, one.begins, one.parameters) == ("pageView", first, (True, True), None)
    assert re.fullmatch(r"0:[0-9a-z]+:[^:]+", one.party) and re.fullmatch(r"0:[0-9a-z]+:[^:]+", one.session)
    assert re.fullmatch(r"0:[^:]+", one.view) and one.id == f"{one.view}0" and "r" not in one.fields
    assert before - 1 < one.at / 1000 < time.time() + 1
    sizes = {name: int(one.fields[name], 36) for name in "wh"}
    assert sizes == {"w": 1280, "h": 720} and one.fields["k"] == "1"
    assert ids(page) == [one.party, one.session, one.view, True, True, False]

    page.click("a")
    _, two = collector.events(2)
    assert (two.location, two.fields["r"]) == (f"{second}?a=1&b=%20#c", first)
    assert (two.party, two.session, two.begins) == (one.party, one.session, (False, False))
    assert two.view != one.view and ids(page) == [one.party, one.session, two.view, False, False, False]

    cookies = {cookie["name"]: cookie for cookie in context.cookies()}
    assert {name: cookie["value"] for name, cookie in cookies.items()} == {"_dvp": one.party, "_dvs": one.session}
    assert {(cookie["sameSite"], cookie["path"], cookie["domain"]) for cookie in cookies.values()} == {
        ("Lax", "/", "127.0.0.1")
    }
    assert cookies["_dvp"]["expires"] - time.time() > 399 * DAY, "two years, of which Chromium allows 400 days"
    assert cookies["_dvs"]["expires"] - time.time() == pytest.approx(1800, abs=20)


def test_events_of_the_page(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    page.goto(shop.page("/", tag))
    parameters = {"price": "1\u00a0490 руб.!~", "amount": "2", "list": [1, 2.5, None, True], "deep": {"a": {}}}  # noqa: RUF001
    found = page.evaluate("parameters => divolte.signal('buy_button_click', parameters)", parameters)
    _, event = collector.events(2)
    assert (event.kind, event.parameters, event.id) == ("buy_button_click", parameters, found)
    assert event.id == f"{event.view}1" and event.begins == (False, False)


def test_the_tag_leaves_the_buy_button_to_the_page(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    page.goto(shop.page("/katalog/item/1/", tag, '<button class="product-item-detail-buy-button">Buy</button>'))
    page.click("button")
    assert [event.kind for event in collector.events(1)] == ["pageView"]


@pytest.mark.parametrize("server_id", ["", "#0:of-the-server"])
def test_a_page_that_is_restored_is_viewed_again(
    server_id: str, page: Page, shop: Shop, collector: Collector, tag: str
) -> None:
    first = shop.page("/", tag.replace("divolte.js", f"divolte.js{server_id}"))
    page.goto(first)
    collector.events(1)
    page.evaluate("window.kept = true")
    page.goto(shop.page("/2", tag))
    collector.events(2)
    page.go_back(wait_until="commit")  # a restored page has no `load`
    assert page.evaluate("window.kept"), "it came from the back/forward cache"
    one, two, again = collector.events(3)
    assert (one.location, two.location, again.location) == (first, shop.address + "/2", first)
    assert len({one.view, two.view, again.view}) == len({one.id, two.id, again.id}) == 3
    assert {(event.party, event.session) for event in (two, again)} == {(one.party, one.session)}
    assert again.begins == (False, False) and ids(page) == [one.party, one.session, again.view, False, False, False]


def test_an_idle_page_that_comes_back_begins_a_new_session(
    page: Page, context: BrowserContext, shop: Shop, collector: Collector, tag: str
) -> None:
    """The page's clock is set, not the browser's: it forgets `_dvs` by hand when its 30 minutes are over."""
    start = time.time()
    page.clock.set_fixed_time(start)
    page.goto(shop.page("/", tag))
    for number, seconds in enumerate((1800, 1800.001, 10)):
        start += seconds
        page.clock.set_fixed_time(start)
        if seconds >= 1800:
            context.clear_cookies(name="_dvs")
        page.evaluate("divolte.signal('look')")
        collector.events(number + 2)
    first, same, new, later = collector.events(4)
    assert same.session == first.session and same.begins == (False, False)
    assert new.session == later.session != first.session
    assert (new.begins, later.begins) == ((False, True), (False, False))
    assert {event.party for event in (same, new, later)} == {first.party}
    assert ids(page) == [first.party, new.session, first.view, False, True, False]


def test_tabs_share_the_session(context: BrowserContext, shop: Shop, collector: Collector, tag: str) -> None:
    start = time.time()
    one, two = context.new_page(), context.new_page()
    for number, page in enumerate((one, two)):
        page.clock.set_fixed_time(start)
        page.goto(shop.page("/", tag))
        collector.events(number + 1)
    context.clear_cookies(name="_dvs")  # both were idle
    for number, page in enumerate((two, one)):
        page.clock.set_fixed_time(start + 4000)
        page.evaluate("divolte.signal('look')")
        collector.events(number + 3)
    views = collector.events(4)
    assert len({event.party for event in views}) == 1 and len({event.id for event in views}) == 4
    assert [views.index(next(v for v in views if v.session == event.session)) for event in views] == [0, 0, 2, 2]
    assert [event.begins for event in views] == [(True, True), (False, False), (False, True), (False, False)]


@pytest.mark.parametrize("attribute", ["", "async", "defer"])
def test_a_path_before_the_script_is_kept(attribute: str, page: Page, shop: Shop, collector: Collector) -> None:
    script = f'<script {attribute} src="{collector.address}/stats/v2/divolte.js?v=3#"></script>'
    page.goto(shop.page("/", script))
    collector.events(1)
    assert collector.requests[0].startswith("/stats/v2/csc-event?p=0%3A")


def test_a_script_that_a_page_inserts(page: Page, shop: Shop, collector: Collector) -> None:
    loader = "const one = document.createElement('script'); one.src = '%s/divolte.js'; document.head.append(one);"
    page.goto(shop.page("/", f"<script>{loader % collector.address}</script>"))
    collector.events(1)


def test_a_second_copy_of_the_script_does_nothing(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    page.goto(shop.page("/", tag * 2, tag.replace("divolte.js", "divolte.js?again")))
    (event,) = collector.events(1)
    assert ids(page)[2] == event.view


def test_the_server_may_choose_the_page_view_id(page: Page, shop: Shop, collector: Collector) -> None:
    page.goto(shop.page("/", f'<script src="{collector.address}/divolte.js#0:aB~_9"></script>'))
    (event,) = collector.events(1)
    assert (event.view, event.id, ids(page)[2:]) == ("0:aB~_9", "0:aB~_90", ["0:aB~_9", True, True, True])


def test_a_page_view_id_has_no_slash(page: Page, shop: Shop, collector: Collector) -> None:
    """As Divolte has it: a `#` with one is no id, and the page is viewed all the same."""
    page.goto(shop.page("/", f'<script src="{collector.address}/divolte.js#/route"></script>'))
    (event,) = collector.events(1)
    assert re.fullmatch(r"0:[^:/]+", event.view) and ids(page)[5] is False


@pytest.mark.parametrize("leave", ["click", "pagehide"])
def test_the_last_event_of_a_page_arrives_once(
    leave: str, page: Page, shop: Shop, collector: Collector, tag: str
) -> None:
    """The collector is slow: six events have all connections that a browser opens, so the last one is not sent before
    the page is gone. A page with a window of its own is not kept for the back button, where its requests would go on.
    """
    collector.open.clear()
    listen = f"window.addEventListener('{leave}', () => divolte.signal('last', {{a: 1}}))"
    body = f'<a href="/2">away</a><script>{listen}</script>'
    page.goto(shop.page("/", tag, body))
    page.evaluate("void window.open('about:blank')")
    page.evaluate("for (let number = 0; number < 5; number++) divolte.signal('look')")
    collector.events(6)
    shop.page("/2", "")
    page.click("a")
    page.wait_for_url("**/2")
    assert collector.events(0, "last") == []
    collector.open.set()
    assert collector.events(1, "last")[0].parameters == {"a": 1}


def test_a_page_in_the_background_is_viewed_when_it_is_seen(
    page: Page, shop: Shop, collector: Collector, tag: str
) -> None:
    page.add_init_script(HIDDEN)
    page.goto(shop.page("/", tag))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert collector.events(0) == []
    page.evaluate(SHOW)
    page.evaluate(SHOW)
    assert collector.events(1)[0].kind == "pageView"


def test_a_tab_in_the_background_takes_the_ids_of_the_first_that_was_seen(
    context: BrowserContext, shop: Shop, collector: Collector, tag: str
) -> None:
    first = shop.page("/", tag)
    background, seen = context.new_page(), context.new_page()
    background.add_init_script(HIDDEN)
    background.goto(first)
    seen.goto(first)
    collector.events(1)
    background.evaluate(SHOW)
    one, two = collector.events(2)
    assert (two.party, two.session, two.begins) == (one.party, one.session, (False, False))
    assert ids(background) == [one.party, one.session, two.view, False, False, False]


def test_a_tab_that_is_first_seen_after_the_session_has_ended_begins_a_new_one(
    context: BrowserContext, shop: Shop, collector: Collector, tag: str
) -> None:
    first = shop.page("/", tag)
    seen, background = context.new_page(), context.new_page()
    seen.goto(first)
    (one,) = collector.events(1)
    background.add_init_script(HIDDEN)
    background.goto(first)
    context.clear_cookies(name="_dvs")  # 30 minutes later
    background.evaluate(SHOW)
    _, two = collector.events(2)
    assert two.party == one.party and two.session != one.session and two.begins == (False, True)


def test_commits_are_awaited(page: Page, shop: Shop, collector: Collector, tag: str) -> None:
    collector.open.clear()
    page.goto(shop.page("/", tag), wait_until="commit")
    page.wait_for_function("window.divolte")
    page.evaluate("window.called = []; divolte.whenCommitted(() => called.push('acknowledged'))")
    page.evaluate("divolte.whenCommitted(() => called.push('time'), 100)")
    page.wait_for_function("called.length === 1")
    assert page.evaluate("called") == ["time"], "the other one waits for the answer"
    collector.open.set()
    page.wait_for_function("called.length === 2")
    page.evaluate("divolte.whenCommitted(() => called.push('nothing to wait for'), 60000)")
    page.wait_for_function("called.length === 3")
    assert page.evaluate("called") == ["time", "acknowledged", "nothing to wait for"]
