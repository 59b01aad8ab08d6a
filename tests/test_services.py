"""Servers for tests start, stop, and say what is wrong where they do not."""

import socket
import sys

import pytest
from services import free_port, program, serving

LISTEN = "import socket, sys, time; server = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_server_takes_connections_while_the_block_runs_and_not_after() -> None:
    port = free_port()
    with serving([sys.executable, "-c", LISTEN.format(port=port)], port):
        assert not refuses(port)
    assert refuses(port)


def test_it_is_stopped_where_a_test_fails() -> None:
    port = free_port()
    with pytest.raises(ZeroDivisionError), serving([sys.executable, "-c", LISTEN.format(port=port)], port):
        _ = 1 / 0
    assert refuses(port)


def test_one_that_ends_at_once_is_a_failure_with_its_own_words() -> None:
    line = [sys.executable, "-c", "import sys; sys.exit('no such folder')"]
    with pytest.raises(pytest.fail.Exception, match="did not start: no such folder"), serving(line, free_port()):
        pass


def test_what_is_not_installed_skips_by_name() -> None:
    with pytest.raises(pytest.skip.Exception, match="no geomask-absent on this machine; install a package"):
        program("geomask-absent", "a package")
