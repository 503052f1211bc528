"""age: archives that are encrypted at rest, for recipients who hold an identity.

The format is age-encryption.org/v1, read and written by pyrage: a header with the file's key wrapped for each
recipient, then chunks of 64 KiB, each authenticated and the last marked as such, so that no alteration and no cut goes
unseen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from snapkit.errors import ArchiveError, SnapshotError, SourceError
from snapkit.pipes import Consumer, produced

#: What opens an encrypted file: the path of an age identity file or SSH private key, or the text of one.
Identity: TypeAlias = str | os.PathLike[str]
#: Whom a file is encrypted to: `age1…`, an SSH public key, or the path of a file with some of them, one a line.
Recipient: TypeAlias = str | os.PathLike[str]

SUFFIX = ".age"
_MAGIC = b"age-encryption.org/"
_ARMOR = b"-----BEGIN AGE ENCRYPTED FILE-----"
RECIPIENTS = "give age1…, an SSH public key (ed25519 or RSA), or a file of them, one a line"
_SECRET = "AGE-SECRET-KEY-"
_PEM = "-----BEGIN "


class IdentityMissingError(SourceError):
    """A file is encrypted, and no identity was given."""


class WrongIdentityError(SourceError):
    """A file is encrypted, and to none of the identities given."""


class IdentityError(SourceError):
    """What was given as an identity is none."""


class RecipientError(SnapshotError):
    """What was given as a recipient is none."""


def is_encrypted(head: bytes) -> bool:
    """Is this the beginning of an age file, binary or armored?"""
    return head.startswith(_MAGIC) or head.lstrip().startswith(_ARMOR)


@contextmanager
def decrypted(stream: IO[bytes], head: bytes, identity: Identity | None) -> Iterator[IO[bytes]]:
    """What is in an encrypted stream, as a stream. What it gave counts once it has come to its end.

    Args:
        stream: From its first byte.
        head: Its beginning, which tells what it is.
        identity: What opens it.

    Raises:
        IdentityMissingError: There is no identity.
        IdentityError: It is none.
        WrongIdentityError: It does not open the stream; when that is read.
        ArchiveError: The stream was altered or cut short; when that is read.
        SnapshotError: pyrage is not installed.
    """
    if identity is None:
        advice = "give the identity that opens it (identity=, --identity FILE or SNAPKIT_IDENTITY)"
        raise IdentityMissingError("is encrypted (age)", "", advice)
    if b"\n-> scrypt " in head:
        raise WrongIdentityError("is encrypted with a passphrase (age)", "", "decrypt it with `age -d` first")
    pyrage, keys = _pyrage(), _identities(identity)
    source = _Watched(stream)

    def decrypt(out: IO[bytes]) -> None:
        sink = _Watched(out)
        try:
            pyrage.decrypt_io(source, sink, keys)
        except BaseException as error:  # a panic of pyrage's is no Exception
            raise source.error or sink.error or _refusal(error, source, sink) from error

    with produced(decrypt, "snapkit-decrypt") as plain:
        yield plain


def _refusal(error: BaseException, source: _Watched, sink: _Watched) -> SnapshotError:
    """What pyrage says, in our words: it tells a header (DecryptError) from what follows it (OSError)."""
    again = "fetch the file again, or use another copy"
    if str(error).startswith("No matching keys"):
        advice = "give the identity of a recipient that it was encrypted to, or another copy if its header was altered"
        return WrongIdentityError("is encrypted (age), and the identity given does not open it", "", advice)
    if not isinstance(error, OSError):
        reason = str(error).partition("\n")[0].rstrip(".")
        cut = "is cut short" if source.ended and "header is invalid" not in reason.lower() else "was altered"
        return ArchiveError(f"the age header {cut} ({reason})", "byte 0", again)
    how = "altered or cut short" if source.ended else "altered"
    return ArchiveError(f"the encrypted file was {how}: it decrypts to {sink.done:,} bytes and no further", "", again)


@contextmanager
def encrypted(file: IO[bytes], recipients: Iterable[Recipient] | Recipient) -> Iterator[Callable[[bytes], object]]:
    """Something to call with what goes to a file, encrypted. That is whole when the block ends without an error.

    Raises:
        RecipientError: There is no recipient, or one that is none.
        OSError: The file can't be written.
        SnapshotError: pyrage is not installed.
    """
    pyrage, keys = _pyrage(), recipients_of(recipients)
    sink = _Watched(file)

    def encrypt(stream: IO[bytes]) -> None:
        source = _Watched(stream)
        try:
            pyrage.encrypt_io(source, sink, keys)
        except Exception as error:
            raise sink.error or source.error or error from error

    with Consumer(encrypt, "snapkit-encrypt") as consumer:
        yield consumer.write
        consumer.result()


class _Watched:
    """A stream whose own errors are kept: pyrage makes others of them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.error: BaseException | None = None
        self.ended = False
        self.done = 0

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except BaseException as error:
            self.error = error
            raise
        self.ended = not data
        self.done += len(data)
        return data

    def write(self, data: bytes) -> int:
        try:
            self._stream.write(data)
        except BaseException as error:
            self.error = error
            raise
        self.done += len(data)
        return len(data)

    def flush(self) -> None:
        """Whose file it is flushes it."""


# -- identities and recipients


def _identities(identity: Identity) -> list[Any]:
    """Never says what it read: it may be a secret in the wrong place."""
    pyrage = _pyrage()
    name = "the identity"
    text = os.fspath(identity)
    if not (text.lstrip().startswith((_SECRET, _PEM, "#")) or "\n" in text):
        name = text
        text = _text(text, IdentityError, "name an identity file, as age-keygen writes it, or an SSH private key")
    if is_encrypted(text.encode()):
        raise IdentityError("is itself encrypted", name, "decrypt it with `age -d`, and give the result")
    if text.lstrip().startswith(_PEM):
        try:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        except pyrage.IdentityError as error:
            advice = "give an unencrypted ed25519 or RSA key"
            raise IdentityError(f"is no SSH key that opens age files ({error})", name, advice) from error
    keys = []
    for number, line in _lines(text):
        try:
            keys.append(pyrage.x25519.Identity.from_str(line))
        except pyrage.IdentityError as error:
            advice = "give what age-keygen writes (AGE-SECRET-KEY-1…), or an SSH private key"
            raise IdentityError(f"line {number} is no age identity", name, advice) from error
    if not keys:
        raise IdentityError("has no identity in it", name, "give what age-keygen writes, or an SSH private key")
    return keys


def recipients_of(given: Iterable[Recipient] | Recipient) -> list[Any]:
    """The recipients as pyrage has them.

    Raises:
        RecipientError: There is none, or one that is none.
        SnapshotError: pyrage is not installed.
    """
    keys = []
    for one in [given] if isinstance(given, str | os.PathLike) else given:
        text = os.fspath(one).strip()
        if text.startswith(("age1", "ssh-")):
            keys.append(_recipient(text, "the recipient"))
            continue
        if text.startswith(_SECRET):
            raise _secret("the recipient")
        if not text:
            raise RecipientError("is empty", "the recipient", RECIPIENTS)
        found = [
            _recipient(line, f"{text}: line {number}")
            for number, line in _lines(_text(text, RecipientError, RECIPIENTS))
        ]
        if not found:
            raise RecipientError("names no recipient", text, RECIPIENTS)
        keys += found
    if not keys:
        raise RecipientError("is missing", "the recipient", RECIPIENTS)
    return keys


def _recipient(text: str, place: str) -> Any:
    pyrage = _pyrage()
    if text.startswith(_SECRET):
        raise _secret(place)
    kind = pyrage.ssh.Recipient if text.startswith("ssh-") else pyrage.x25519.Recipient
    try:
        return kind.from_str(text)
    except pyrage.RecipientError as error:
        raise RecipientError("is no age recipient", place, RECIPIENTS) from error


def _secret(place: str) -> RecipientError:
    return RecipientError("is a secret identity", place, "give its public recipient: `age-keygen -y` tells it")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return ((number, line) for number, line in lines if line and not line.startswith("#"))


def _text(path: str, kind: type[SnapshotError], advice: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise kind("is no text", path, advice) from error
    except (OSError, ValueError) as error:
        raise kind(f"can't be read ({getattr(error, 'strerror', None) or error})", path, advice) from error


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError as error:
        raise SnapshotError("needs the package pyrage", "encryption (age)", "pip install 'snapkit[age]'") from error
    return pyrage
