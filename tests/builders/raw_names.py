"""Header names as clients write them that take bytes for names."""

RAW_NAME = b"\xff\xfeid"


class RawName(str):
    """A header's name that is written as other bytes than its text."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        """What aiokafka's builder in Python writes."""
        return RAW_NAME
