"""The process of a run that is declared dead is ended, and nobody else's."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from shop_streams.runs import end_later, end_process
from shop_streams_tests.harness import wait_for


@pytest.fixture
def stopped() -> Iterator[psutil.Process]:
    """A process that hangs as one does after SIGSTOP."""
    child = subprocess.Popen([sys.executable, "-c", "input()", "shop_streams"], stdin=subprocess.PIPE)
    process = psutil.Process(child.pid)
    process.suspend()
    wait_for("it to stop", lambda: process.status() == psutil.STATUS_STOPPED, 10)
    yield process
    child.kill()
    child.wait()


def test_a_stopped_process_is_ended(stopped: psutil.Process) -> None:
    end_later(socket.gethostname(), stopped.pid, time.time(), 0.5)
    assert stopped.is_running()  # it has time to end by itself
    stopped.wait(10)
    assert not end_process(socket.gethostname(), stopped.pid, time.time())  # once


@pytest.mark.parametrize("case", ["another host", "a later process with the same id"])
def test_another_process_with_the_same_id_is_left_alone(stopped: psutil.Process, case: str) -> None:
    host, there_at = socket.gethostname(), time.time()
    if case == "another host":
        host += "-2"
    else:
        there_at -= 60
    assert not end_process(host, stopped.pid, there_at)
    assert stopped.status() == psutil.STATUS_STOPPED


def test_a_program_that_is_no_run_is_left_alone() -> None:
    """The lease may be of a machine that had the same host name."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        there_at = time.time() + 1  # older than this
        assert not end_process(socket.gethostname(), program.pid, there_at)
        assert program.poll() is None
        program.kill()


def test_a_process_that_has_ended_is_no_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not end_process(socket.gethostname(), child.pid, time.time())
