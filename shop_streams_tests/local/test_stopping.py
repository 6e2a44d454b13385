"""`make down` asks before it stops: no run of a stream is a failure afterwards, and none is left unfinished."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from shop_streams.local import stopping
from shop_streams.local.supervision import supervisor_process
from shop_streams.settings import get_settings
from shop_streams.streaming.lease import Lease
from shop_streams_tests.harness import Stack, wait_for
from shop_streams_tests.local.restarts import restart_cleanly
from shop_streams_tests.streaming.test_faults import NAME, assert_each_is_a_row_once, traffic


def kill_the_supervisor(stack: Stack) -> None:
    supervisor = supervisor_process(stack.settings)
    assert supervisor is not None
    supervisor.kill()
    supervisor.wait(10)


@pytest.mark.parametrize("supervisor_is_killed", [False, pytest.param(True, marks=pytest.mark.long)])
def test_down_and_up_leave_no_failure_and_no_unfinished_run(stack: Stack, supervisor_is_killed: bool) -> None:
    with traffic(stack) as ids:
        wait_for("some traffic", lambda: len(ids) > 50)
    restart_cleanly(stack, before=lambda: kill_the_supervisor(stack) if supervisor_is_killed else None)
    assert_each_is_a_row_once(stack, ids)  # they run again: the request to rest is gone
    stack.wait_running(NAME)


def lease(name: str, released: bool, beat_age: float) -> Lease:
    return Lease(name, "run", 1, "here", 3, 0, {}, 0, released, beat_age, 60.0)


WORDS: dict[str, tuple[dict[str, tuple[bool, float]], list[str]]] = {
    "all rest": ({"a": (True, 1), "b": (True, 1)}, ["2 of 2 streams stopped, none of them in the middle of a batch"]),
    "one hangs": ({"a": (True, 1), "b": (False, 1)}, ["1 of 2 streams", "No answer from b (died, or hung for 0 s)"]),
    "one died": ({"a": (True, 1), "b": (False, 99)}, ["1 of 2 streams", "No answer from b"]),
}


@pytest.mark.parametrize("case", WORDS)
def test_a_stream_that_does_not_answer_is_named_and_not_waited_for_without_end(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later, words = WORDS[case]
    looks = iter([{name: lease(name, False, 1) for name in later}])

    def read() -> dict[str, Lease]:
        return next(looks, {name: lease(name, *state) for name, state in later.items()})

    monkeypatch.setattr(stopping, "Leases", lambda _dsn: SimpleNamespace(read=read))
    monkeypatch.setattr(stopping, "is_held_here", lambda *_: True)
    said: list[str] = []
    seconds = 0.3 if case == "one hangs" else 600  # nobody waits for one that died
    stopping.rest_streams(get_settings(), said.append, seconds)
    assert len(said) == len(words) and all(line.startswith(word) for line, word in zip(said, words, strict=True))


def test_without_postgresql_the_wait_has_an_end(monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    nobody = stack.settings.model_copy(update={"postgres_dsn": "postgresql://postgres@127.0.0.1:1/postgres"})
    monkeypatch.setattr(stopping, "ASK_SECONDS", 1.0)
    said: list[str] = []
    stopping.stop_runs(nobody, said.append)
    assert len(said) == 1 and said[0].startswith("PostgreSQL does not answer")


@pytest.mark.servers
def test_a_second_ctrl_c_does_not_leave_half_of_it_running() -> None:
    program = (
        "import time\nfrom shop_streams.local.stopping import not_interrupted\n"
        "with not_interrupted(lambda text: print(text, flush=True)):\n"
        "    print('stopping', flush=True)\n    time.sleep(1)\nprint('stopped', flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "stopping\n"
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.1)  # two signals at once are one
    os.kill(process.pid, signal.SIGTERM)
    rest = process.communicate(timeout=30)[0]
    assert rest.splitlines()[-1] == "stopped" and "stopping already" in rest
