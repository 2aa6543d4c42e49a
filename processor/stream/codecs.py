"""Check that whatever a producer compressed can be read.

aiokafka finds a codec's library missing only when the first batch comes that needs it.
"""

from aiokafka import codec

from ops.errors import UsageError

# Kafka's codecs, each with the library that aiokafka reads it by.
_LIBRARIES = {"gzip": "zlib", "snappy": "cramjam", "lz4": "cramjam", "zstd": "cramjam"}


def check() -> None:
    """Return where every codec of Kafka can be read.

    Raises:
        UsageError: a library is missing; the message names it.
    """
    missing = [name for name in _LIBRARIES if not getattr(codec, f"has_{name}")()]
    if missing:
        libraries = sorted({_LIBRARIES[name] for name in missing})
        raise UsageError(
            f"Records compressed by {', '.join(missing)} cannot be read: Python has no "
            f"{', '.join(libraries)}. Install Laurel with its dependencies (`pip install "
            f"{' '.join(libraries)}`)."
        )
