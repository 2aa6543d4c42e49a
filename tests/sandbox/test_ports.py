"""A port of the sandbox is below the ephemeral range, and nobody else gets it meanwhile."""

import socket
import threading

import pytest

from ops.errors import UsageError
from sandbox import ports

pytestmark = pytest.mark.integration


def test_a_reserved_port_is_below_the_ephemeral_range() -> None:
    with ports.reserved() as port:
        assert ports.FIRST <= port < 32768


def test_a_server_can_listen_on_the_reserved_port_while_it_is_held() -> None:
    with ports.reserved() as port, socket.create_server(("127.0.0.1", port)):
        assert ports.answers("127.0.0.1", port)
    assert not ports.answers("127.0.0.1", port)


def test_a_named_port_with_a_server_is_refused() -> None:
    with (
        ports.reserved() as port,
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(
            UsageError, match=f"127.0.0.1:{port} cannot be listened on: Address already in use"
        ),
        ports.reserved(port=port),
    ):
        pass


def test_a_named_port_is_given_again_while_connections_of_its_last_server_linger() -> None:
    with ports.reserved() as port, socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first keeps the port in TIME_WAIT
        assert client.recv(1) == b""
        client.close()
    with ports.reserved(port=port) as again, socket.create_server(("127.0.0.1", again)):
        assert ports.answers("127.0.0.1", port)


def test_parallel_starters_get_different_ports() -> None:
    got: list[int] = []
    all_hold = threading.Barrier(40)

    def starter() -> None:
        try:
            with ports.reserved() as port:
                got.append(port)
                all_hold.wait()
        except BaseException:
            all_hold.abort()  # else the others would wait for ever
            raise

    threads = [threading.Thread(target=starter) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 40


def test_an_address_of_another_machine_is_refused() -> None:
    with (
        pytest.raises(UsageError, match=r"192\.0\.2\.1 cannot be listened on"),
        ports.reserved("192.0.2.1"),
    ):
        pass
