"""An answer is computed once for a version, and kept as long as there is room; a question is asked once for many requests."""

import asyncio

import pytest

from shop_streams.api.cache import Cache, Together


class Source:
    """Counts its answers; `fails` of them fail first."""

    def __init__(self, size: int = 1, fails: int = 0) -> None:
        self.computed = 0
        self._size = size
        self._fails = fails

    async def __call__(self) -> bytes:
        await asyncio.sleep(0)
        self.computed += 1
        if self.computed <= self._fails:
            raise ValueError("away")
        return b"x" * self._size


def test_requests_at_the_same_time_are_computed_once_and_a_new_version_again() -> None:
    async def scenario() -> None:
        cache, source = Cache(), Source()
        await asyncio.gather(*[cache.get("key", "1", source) for _ in range(10)])
        await cache.get("key", "1", source)
        assert source.computed == 1
        await cache.get("key", "2", source)
        await cache.get("other", "2", source)
        assert source.computed == 3

    asyncio.run(scenario())


def test_an_error_is_not_kept_but_all_who_wait_get_it() -> None:
    async def scenario() -> None:
        cache, source = Cache(), Source(fails=1)
        found = await asyncio.gather(*[cache.get("key", "1", source) for _ in range(3)], return_exceptions=True)
        assert [type(one) for one in found] == [ValueError] * 3
        assert await cache.get("key", "1", source) == b"x"

    asyncio.run(scenario())


def test_who_leaves_takes_the_answer_from_nobody() -> None:
    async def scenario() -> None:
        cache, source = Cache(), Source()
        leaving, staying = (asyncio.create_task(cache.get("key", "1", source)) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying == b"x" and source.computed == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(("size", "bytes_", "answers", "kept"), [(10, 35, 100, 3), (10, 1000, 2, 2), (50, 35, 100, 0)])
def test_room_is_limited_and_the_least_used_answer_makes_room(size: int, bytes_: int, answers: int, kept: int) -> None:
    async def scenario() -> None:
        cache, source = Cache(bytes_, answers), Source(size)
        for _ in range(2):  # the second time around, versions change: what was counted is given back
            for key in range(20):
                await cache.get(key, f"{_}", source)
        before = source.computed
        for key in range(19, 19 - kept, -1):
            await cache.get(key, "1", source)
        assert source.computed == before, "the last ones are kept"
        await cache.get(19 - kept, "1", source)
        assert source.computed == before + 1, "and no more of them"

    asyncio.run(scenario())


class Counter:
    """A question whose answer is how often it was asked before; it is answered when `open` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = asyncio.Event()

    async def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        await self.open.wait()
        if number == 3:
            raise ValueError("away")
        return number


def test_a_request_gets_an_answer_that_was_asked_for_after_it_came() -> None:
    async def scenario() -> None:
        together, question = Together(), Counter()
        first = [asyncio.create_task(together.ask("key", question)) for _ in range(5)]
        await asyncio.sleep(0.01)
        later = [asyncio.create_task(together.ask("key", question)) for _ in range(5)]
        other = asyncio.create_task(together.ask("another key", Counter()))
        await asyncio.sleep(0.01)
        assert question.asked == 1
        later[0].cancel()
        question.open.set()
        assert await asyncio.gather(*first) == [1] * 5
        assert await asyncio.gather(*later[1:]) == [2] * 4, "the question was on its way when they came"
        failed = await asyncio.gather(*[together.ask("key", question) for _ in range(2)], return_exceptions=True)
        assert [type(one) for one in failed] == [ValueError] * 2
        assert await together.ask("key", question) == 4, "an error is not kept"
        other.cancel()

    asyncio.run(scenario())


def test_nobody_waits_long_for_a_question_that_hangs() -> None:
    async def scenario() -> None:
        together, hanging, question = Together(), Counter(), Counter()
        question.open.set()
        first = asyncio.create_task(together.ask("key", hanging))
        await asyncio.sleep(0.01)
        assert await asyncio.wait_for(together.ask("key", question), 2) == 1
        first.cancel()

    asyncio.run(scenario())
