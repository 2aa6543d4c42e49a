"""Ask a Kafka broker for metadata, to see whether it is ready: the one request of the sandbox.

An open port says too little: a KRaft broker accepts connections before its controller has let it
in. A client library would say it too, but each wants an event loop or threads; this is thirty bytes
each way.
"""

import socket
import struct

_METADATA = 3  # the Kafka protocol guide, API keys
_VERSION = 1  # understood by every broker up to Kafka 4; its answer begins with the brokers
_TIMEOUT_SECONDS = 2.0
_ANSWER_BYTES_MAX = 1 << 20


def metadata_answers(host: str, port: int) -> bool:
    """Return whether the broker at `host`, `port` answers a metadata request for no topics.

    It has to name at least one broker.
    """
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS) as connection:
            connection.sendall(_request())
            (length,) = struct.unpack(">i", _exactly(connection, 4))
            if not 8 <= length <= _ANSWER_BYTES_MAX:
                return False
            _correlation, brokers = struct.unpack(">ii", _exactly(connection, length)[:8])
            return bool(brokers > 0)
    except OSError:
        return False


def _request() -> bytes:
    client = b"laurel-sandbox"
    header = struct.pack(">hhih", _METADATA, _VERSION, 1, len(client)) + client
    body = struct.pack(">i", 0)  # an empty list of topics; null would ask for all
    return struct.pack(">i", len(header) + len(body)) + header + body


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionResetError("the broker closed the connection")
        received += piece
    return bytes(received)
