"""Which addresses may receive a token. Pure.

A token of a person cannot be moved: one that goes to an address which nobody can sign for is lost,
and one at a contract of ours is a badge that nobody holds.
"""

from collections.abc import Container

from store.values.names import RawAddress

_NOBODY = RawAddress("0:" + "0" * 64)


def refusal(
    raw: RawAddress | None, ours: Container[RawAddress], *, test_only: bool = False
) -> str | None:
    """Return why no token goes to a linked wallet; None where one may.

    Args:
        raw: the linked address in its raw form; None where it has none.
        ours: the service's own contracts: wallet, collections and tokens.
        test_only: it was linked in a form for test networks only, and this is the main network.
    """
    if raw is None:
        return "the linked wallet is no address"
    if raw == _NOBODY:
        return "the linked wallet is the zero address, which is nobody's"
    if not raw.startswith("0:"):
        return "the linked wallet is not in the basechain, where the tokens are"
    if raw in ours:
        return "the linked wallet is a contract of Laurel's own"
    if test_only:
        return "the linked wallet is an address for test networks only, and this is the main one"
    return None
