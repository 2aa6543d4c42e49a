"""A broker is ready when it answers; a port that is merely open, or answers nonsense, is not."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.broker import Broker
from sandbox.wire import metadata_answers


@contextmanager
def a_server_that_says(answer: bytes) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_broker_answers(any_broker: Broker) -> None:
    host, _, port = any_broker.address.rpartition(":")
    assert metadata_answers(host, int(port))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closes"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="speaks something else"),
        pytest.param(struct.pack(">iii", 8, 1, 0), id="knows no broker yet"),
        pytest.param(struct.pack(">ii", 100, 1), id="breaks off"),
    ],
)
def test_who_does_not_answer_metadata_is_no_broker_yet(answer: bytes) -> None:
    with a_server_that_says(answer) as port:
        assert not metadata_answers("127.0.0.1", port)
