"""The wallet's key, from a file with its 24 words. The only module that sees the secret."""

import os
from pathlib import Path

from nacl.signing import SigningKey
from pydantic import SecretStr
from ton_core.crypto.keys import mnemonic_is_valid, mnemonic_new, mnemonic_to_private_key

from ops import secret_files
from ops.errors import UsageError

WORDS = 24
_SETTING = "LAUREL_WALLET_MNEMONIC_FILE"


class MnemonicSigner:
    """Signs with the key of a mnemonic; the key never leaves, and is never printed."""

    def __init__(self, mnemonic: SecretStr) -> None:
        """Derive the key.

        Raises:
            ValueError: the words are no mnemonic of TON.
        """
        words = mnemonic.get_secret_value().split()
        if len(words) != WORDS or not mnemonic_is_valid(words):
            raise ValueError("not the words of a TON wallet")
        _, private = mnemonic_to_private_key(words)
        self._key = SigningKey(private[:32])

    @property
    def public_key(self) -> bytes:
        """Return the 32 bytes of the Ed25519 public key."""
        return bytes(self._key.verify_key)

    def sign(self, digest: bytes) -> bytes:
        """Return the 64 bytes of the signature over `digest`."""
        return bytes(self._key.sign(digest).signature)

    def __repr__(self) -> str:
        return f"MnemonicSigner(public_key={self.public_key.hex()})"


def from_file(path: Path) -> MnemonicSigner:
    """Read the key of the minting wallet.

    Args:
        path: a text file with 24 words, separated by blanks or lines.

    Raises:
        UsageError: there is no such file, others can read it, or its words are no mnemonic. The
            message never repeats a word.
    """
    try:
        text = secret_files.content(path).decode("utf-8-sig")  # a mark: Windows' editors begin so
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(
            f"{path}: the wallet's words cannot be read ({reason}). {_SETTING} should name a text "
            f"file with the {WORDS} words; `laurel wallet new FILE` makes one.",
            setting=_SETTING,
        ) from None
    secret_files.check(path, _SETTING)
    count = len(text.split())
    if count != WORDS:
        raise UsageError(
            f"{path}: {count} words where a TON wallet has {WORDS}. Put the {WORDS} words there, "
            "or make a new wallet with `laurel wallet new FILE`.",
            setting=_SETTING,
        )
    try:
        return MnemonicSigner(SecretStr(text.lower()))
    except ValueError:
        raise UsageError(
            f"{path}: its {WORDS} words are no TON mnemonic: a word is misspelt, missing from the "
            "list, or in the wrong place. Compare it with your backup.",
            setting=_SETTING,
        ) from None


def write_new(path: Path) -> MnemonicSigner:
    """Make a wallet.

    Write 24 new words to `path`, readable by its owner alone, and return their key.

    Raises:
        UsageError: the file exists (it is never overwritten: it may be the only way to a wallet's
            money), or cannot be written.
    """
    words = " ".join(mnemonic_new(WORDS))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"{path} exists, and a wallet's file is never overwritten. Name another file."
        ) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}. Name a file in a directory of your own."
        ) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(words + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()  # half a wallet, to which nobody has paid
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None
    return MnemonicSigner(SecretStr(words))
