"""Addresses in the forms of TEP-2, and what is told of those that are none."""

from base64 import b64encode, urlsafe_b64encode
from binascii import crc_hqx

import pytest

from processor.events.addresses import is_test_only, normalised

ACCOUNT = bytes(range(224, 256))
RAW = f"0:{ACCOUNT.hex()}"


def packed(flags: int = 0x11, workchain: int = 0, checksum: int = 0) -> bytes:
    """Return the 36 bytes of a user-friendly address; `checksum` spoils the right one."""
    head = bytes([flags, workchain % 256]) + ACCOUNT
    return head + (crc_hqx(head, 0) ^ checksum).to_bytes(2, "big")


@pytest.mark.parametrize("form", [RAW, RAW.upper()])
def test_the_raw_form_is_kept_in_lower_case(form: str) -> None:
    assert normalised(form) == RAW


@pytest.mark.parametrize(
    "flags",
    [0x11, 0x51, 0x91, 0xD1],
    ids=["bounceable", "non-bounceable", "test bounceable", "test non-bounceable"],
)
def test_every_user_friendly_form_names_the_same_account(flags: int) -> None:
    assert normalised(b64encode(packed(flags)).decode()) == RAW
    assert normalised(urlsafe_b64encode(packed(flags)).decode()) == RAW


@pytest.mark.parametrize(
    ("flags", "test_only"), [(0x11, False), (0x51, False), (0x91, True), (0xD1, True)]
)
def test_a_form_for_test_networks_only_is_told(flags: int, test_only: bool) -> None:
    assert is_test_only(b64encode(packed(flags)).decode()) is test_only
    assert is_test_only(urlsafe_b64encode(packed(flags)).decode()) is test_only
    assert not is_test_only(RAW)


def test_an_address_that_a_wallet_shows_is_read() -> None:
    # TEP-2's own example is on the masterchain; this is the zero address as explorers show it.
    assert normalised("EQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAM9c") == f"0:{'0' * 64}"


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("", "neither 0:hex nor 48 characters of base64"),
        (f"{RAW}0", "neither 0:hex nor 48 characters of base64"),
        (RAW[:-1], "neither 0:hex nor 48 characters of base64"),
        (f" {RAW}", "neither 0:hex nor 48 characters of base64"),
        (f"{RAW}\n", "neither 0:hex nor 48 characters of base64"),
        (b64encode(packed()).decode() + " ", "neither 0:hex nor 48 characters of base64"),
        # A digit zero, but Arabic.
        (f"\u0660:{ACCOUNT.hex()}", "neither 0:hex nor 48 characters of base64"),
        ("E" * 47 + "!", "neither 0:hex nor 48 characters of base64"),
        (f"-1:{ACCOUNT.hex()}", "the address is on workchain -1; wallets live on workchain 0"),
        (f"12:{ACCOUNT.hex()}", "the address is on workchain 12; wallets live on workchain 0"),
        (
            b64encode(packed(workchain=-1)).decode(),
            "the address is on workchain -1; wallets live on workchain 0",
        ),
        (
            b64encode(packed(checksum=1)).decode(),
            "the checksum does not match: a character is wrong",
        ),
        (b64encode(packed(0x12)).decode(), "the first byte is 0x12, which is no address"),
        (b64encode(packed(0x31)).decode(), "the first byte is 0x31, which is no address"),
    ],
)
def test_what_is_no_address_of_a_wallet_is_told_why(address: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}$"):
        normalised(address)


def test_one_wrong_character_is_noticed() -> None:
    address = b64encode(packed()).decode()
    for place, character in enumerate(address):
        other = "A" if character != "A" else "B"
        with pytest.raises(ValueError, match=r"checksum|first byte|workchain"):
            normalised(address[:place] + other + address[place + 1 :])
