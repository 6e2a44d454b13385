"""An answer is computed once for a version, and kept as long as there is room."""

import asyncio

import pytest

from shop_streams.api.cache import Cache


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
