"""What stands for a secret or a name: the same for the same under one key, of the same length and form.

Names are replaced word by word, and what is between words stays: `web.front[0]`, `_nomad-task-<alloc id>-…` and
`nightly/periodic-1795471701` keep their parts, and so what they refer to. On words of one length and one kind of
characters the replacement is a permutation (a Feistel network, as in format-preserving encryption): two names never
become one.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable
from hashlib import blake2b, shake_256
from math import prod
from typing import Any

import msgspec
import numpy as np

#: Words of Nomad itself, as its states, messages, policies and attributes have them: they stay, in any case.
WORDS = frozenset(
    """
    accessor accessors acl active add address advertise aead aes256 affinity after agent alias alive all alloc
    alloc_mounts allocated allocation allocations allocs allow amd64 and annually anonymous anti any api apr arch
    arm arm64 artifact artifacts attempt attempts attr attribute aug auth auto autopilot available awskms
    azurekeyvault balance bandwidth base64 batch begin bidirectional bind binding binpack block blocked bool
    bootstrap bridge broker built bytes bytestotal canary canceled cancelled capabilities capacity certificate
    cgroup cgroups change changed check checks claim class cleared client closed cluster cni code collision command
    complete completed computed config connect constant constraint constraints consul contains contention controller
    cooldown core cores count cpu create created cron csi daily darwin datacenter dead deadline debug dec default
    delay delete deny deployment deployments deprecated deregister deregistered desired destroy destructive detach
    detected device devices dimension disabled disconnect disconnected disk dispatch distinct docker down download
    downloading drain drained draining driver due eddsa eligibility eligible enabled end env error eval evals
    evaluation evaluations event events every evict evicted exceeded exec exhausted exit exited exponential expose
    fail failed failing fails failure false feb fibonacci file filesystem filtered finished followup for force
    forced format found free frequency fri fs gc gcm gcpckms get ghz gib global gmt group groups grpc hcl hcl1 hcl2
    health healthy heartbeat help horizontal host hostname hosts hourly http https hup id ignore image in inactive
    index ineligible info ingress initialized initializing install int interval into io ip ipv4 ipv6 is isolation
    jan java job jobs json jul jun jwks jwt kernel key keyring keys kib kill killed killing launch leader left lib
    license lifecycle limit linux list local log logs lost management manual mar mark marked matches max may member
    memory mesh meta method methods metric mhz mib migrate migrating min missed missing mkdir mock mode modelname
    mon monthly mount mounts multi name namespace namespaces native nestedvirt network new newer no node node0 nodes
    nomad nomadproject none noop not nov numa numcores oct of off oidc on one only oom open operator or os out
    override parse path paths paused peer pending periodic permission plan platform plugin plugins podman policies
    policy pool pools port ports poststart poststop preempted preemption prefer prepublished prestart private
    progress proxy public purge push qemu query queued quota quotas raft raw read reader ready realtime rebalance
    receive received reconnect register registered registration registrations rekeying remove repeated reported
    require required reschedule rescheduled rescheduling reservablecores reserve restart restarted restarting
    restarts role roles rolling root rs256 rule rules run running runtime sat save scale scaling scheduled scheduler
    score scores script secret secrets sentinel sep sequence service services set setup shutdown si sibling sidecar
    sigabrt sigalrm sigbus sigchld sigcont sigfpe sighup sigill sigint sigio sigiot sigkill signal signaled
    signaling signature signer signull sigpipe sigprof sigquit sigsegv sigstop sigsys sigterm sigtrap sigtstp
    sigttin sigttou sigusr1 sigusr2 sigwinch sigxcpu sigxfsz single size slice snapshot snapshots source spread
    stable started starting state states static status stop stopped stopping storage storageclass strategy string
    submission submit successful summary sun sync sysbatch system tag target task tasks tcp template terminal
    terminated terminating thu time timeout timer tls tlsv1 token tokens topology total totalbytes totalcompute
    totaldisk transit transparent trigger triggered true tue type udp uint unblocked unblocking unhealthy unique
    unix unknown unlimited until update updated upgrade usablecompute user using utc v1 v2 valid validation value
    variable variables vault version versions vertical volume volumes wait waiting watcher wed weekly when windows
    with write writer x86 yearly yes
    """.split()  # noqa: SIM905 - a list of a hundred lines reads no better
)

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: Of text: what is replaced as one, in this order. The rest, between words, stays.
_TOKENS = re.compile(
    rf"""(?P<uuid>{UUID.pattern})
    |(?P<time>\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)
    |(?P<mac>(?<![\w:])(?:[0-9a-fA-F]{{2}}:){{5}}[0-9a-fA-F]{{2}}(?![\w:]))
    |(?P<ip6>(?<![\w:.])(?:[0-9a-fA-F]{{0,4}}:){{2,7}}(?:(?:\d{{1,3}}\.){{3}}\d{{1,3}}|[0-9a-fA-F]{{0,4}})(?![\w:]))
    |(?P<ip4>(?<![0-9.])\d{{1,3}}(?P<dot>[.-])\d{{1,3}}(?P=dot)\d{{1,3}}(?P=dot)\d{{1,3}}(?![0-9]|(?P=dot)[0-9]))
    |(?P<launch>(?<=/periodic-)\d{{1,19}}(?!\w)|(?<=/dispatch-)\d{{1,19}}(?!\w))
    |(?P<word>[A-Za-z0-9\x80-\U0010ffff]+)""",
    re.X,
)
_TALK = re.compile(rf"(?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)|{_TOKENS.pattern.partition('|(?P<launch>')[0]}", re.X)
_WORD = re.compile(r"[A-Za-z0-9\x80-\U0010ffff]+")
_NUMBER = re.compile(r"\d{1,4}", re.ASCII)
_DURATION = re.compile(r"(?:\d{1,4}(?:h|ms|m|s|us|ns|d))+", re.ASCII)
#: Of a secret: what is kept, and what is replaced together.
_RUNS = re.compile(
    r"""(?P<kept>\\[nrtbfu"\\/])|(?P<hex>(?<![A-Za-z0-9])(?=\d*[a-f])[0-9a-f]{16,}(?![A-Za-z0-9]))
    |(?P<digit>[0-9]+)|(?P<lower>[a-z]+)|(?P<upper>[A-Z]+)|(?P<other>[\x80-\U0010ffff]+)""",
    re.X,
)
_JWT = re.compile(r"(eyJ[\w-]+)\.([\w-]+)\.([\w-]+)", re.ASCII)
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s@]+(?=@)|(?<=[?&])([^=&\s#\"']+)=([^&\s#\"']*)")

#: What long secrets are replaced by: so few characters that no detector takes it for a secret (4 bits a character at
#: most, 3 in hex), and that nothing of 20 characters is made of them by chance.
ALPHABETS = {"hex": b"abcd2357", "digit": b"2357", "lower": b"ghjkmn", "upper": b"GHJKMN"}
TABLES = {name: bytes(letters[i % len(letters)] for i in range(256)) for name, letters in ALPHABETS.items()}
REPLACED = frozenset(b"".join(ALPHABETS.values()).decode())
_URL_SAFE = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
_LETTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HEX = re.compile(rb"(?<![A-Za-z0-9])(?=\d*[a-f])[0-9a-f]{16,}(?![A-Za-z0-9])")
_ESCAPED = re.compile(rb'\\[nrtbfu"\\/]')
_IS_HEX = bytes(i in b"0123456789abcdef" for i in range(256))
_SIXTEEN = b"\1" * 16
_RUN_OF = {  # in what run a byte stands
    value: name
    for name, letters in {"digit": b"0123456789", "lower": _LETTERS[36:], "upper": _LETTERS[10:36]}.items()
    for value in letters
}
#: What a byte of a long secret becomes by a byte of noise: for each of its values a row of 256.
_MATRIX = np.concatenate(
    [
        np.frombuffer(TABLES[name], np.uint8) if (name := _RUN_OF.get(value)) else np.full(256, value, np.uint8)
        for value in range(256)
    ]
)
_HEX_TABLE = np.frombuffer(TABLES["hex"], np.uint8)
LONG = 16  # characters from which a secret is long: the alphabets above still tell such ones apart

#: Characters that stay among themselves: the first, and how many. All of one have as many bytes in UTF-8.
_CLASSES = (
    *((0x30, 10), (0x41, 26), (0x61, 26), (0x80, 0x20), (0xA0, 0x20), (0xC0, 0x40), (0x100, 0x150), (0x250, 0x120)),
    *((0x370, 0x90), (0x400, 0x130), (0x530, 0x2D0), (0x800, 0x1800), (0x2000, 0x1041), (0x3041, 0x1DBF)),
    *((0x4E00, 0x5200), (0xA000, 0xC00), (0xAC00, 0x2BA4), (0xD7A4, 0x5C), (0xE000, 0x2000), (0x10000, 0x100000)),
)
#: What long secrets have for characters of two, three and four bytes.
_FOREIGN = {2: (0x410, 0x40), 3: (0x4E00, 0x5000), 4: (0x20000, 0xA000)}
_ROUNDS = 8
_TELLING = 20  # characters of a word from which detectors look at its entropy
_WIDE = 1 << 64  # so many words of a form are not mapped by a permutation: none will be met twice
_ROOM = 500_000  # entries of a cache
_DIGEST = 64  # bytes that BLAKE2 gives at once


def looks_replaced(text: str) -> bool:
    """Is it, by its looks, what stands for a secret here?"""
    jwt = _JWT.fullmatch(text)
    characters = set(re.sub("[^A-Za-z0-9]", "", jwt[3] if jwt else text))
    return characters <= REPLACED


class Pseudonyms:
    """Gives pseudonyms under a key.

    Args:
        key: Whoever has it can tell what stands for a guess; without it nothing can be undone.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._names: dict[bytes, bytes] = {}
        self._words: dict[str, str] = {}
        self._claimed: dict[str, str] = {}
        #: What a JWT's key id becomes.
        self.key_id: Callable[[str], str] = lambda key_id: key_id
        #: What a JWT's claims, and a variable's items, are called.
        self.member: Callable[[str], str] = lambda name: name

    def noise(self, label: str, value: bytes, size: int) -> bytes:
        """So many bytes that look random, the same for the same.

        Args:
            label: What they are for, in up to 16 characters.
            value: What they are made from.
            size: How many.
        """
        person = label.encode()
        if size <= _DIGEST:
            return blake2b(value, digest_size=size or 1, key=self._key, person=person).digest()[:size]
        seed = blake2b(value, key=self._key, person=person).digest()
        return shake_256(seed).digest(size)

    # -- secrets

    def secret(self, value: bytes) -> bytes:
        """What stands for a secret as a whole: other letters and digits, at the same places."""
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return self.noise("bytes", value, len(value))
        if len(text) == 36 and UUID.fullmatch(text):
            return self._uuid(text).encode()
        if value.startswith(b"eyJ") and value.translate(None, _URL_SAFE) == b".." and (made := self._jwt(value)):
            return made
        if len(value) == len(text):
            if len(value) - len(value.translate(None, _LETTERS)) >= LONG:
                return self._long(value)
            places = [i for m in _RUNS.finditer(text) if m.lastgroup != "kept" for i in range(*m.span())]
            return self._permuted(text, places, "secret").encode()
        stream = self.noise("secret", value, 3 * len(text))
        tables = {name: stream[: len(text)].translate(table).decode() for name, table in TABLES.items()}

        def replace(match: re.Match[str]) -> str:
            start, end = match.span()
            match match.lastgroup:
                case "kept":
                    return match[0]
                case "other":
                    return "".join(
                        _other(text[i], int.from_bytes(stream[3 * i : 3 * i + 3], "big")) for i in range(start, end)
                    )
            return tables[str(match.lastgroup)][start:end]

        return _RUNS.sub(replace, text).encode()

    def _long(self, value: bytes) -> bytes:
        """A long secret that is ASCII, all of it at once."""
        old = np.frombuffer(value, np.uint8)
        stream = np.frombuffer(self.noise("secret", value, len(value)), np.uint8)
        new = _MATRIX.take(old * np.uint16(256) + stream)
        if _SIXTEEN in value.translate(_IS_HEX):
            for match in _HEX.finditer(value):
                here = slice(*match.span())
                new[here] = _HEX_TABLE.take(stream[here])
        if b"\\" in value:
            for match in _ESCAPED.finditer(value):
                here = slice(*match.span())
                new[here] = old[here]
        return new.tobytes()

    def _jwt(self, value: bytes) -> bytes | None:
        """A token of other claims and another signature; None if it is no token."""
        first, second, signature = value.split(b".")
        try:
            header, claims = (
                msgspec.json.decode(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
                for part in (first, second)
            )
        except (ValueError, msgspec.MsgspecError, RecursionError):
            return None
        if not isinstance(header, dict) or not isinstance(claims, dict):
            return None
        plain: dict[str, Callable[[str], str]] = {"alg": str, "typ": str, "kid": self.key_id}
        header = {
            name: plain[name](item) if name in plain and isinstance(item, str) else self._claims(item)
            for name, item in header.items()
        }
        made = (
            base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=") for part in (header, self._claims(claims))
        )
        return b".".join((*made, self.noise("signature", value, len(signature)).translate(TABLES["lower"])))

    def _claims(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.member(name): self._claims(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._claims(item) for item in value]
        return self._claim(value) if isinstance(value, str) else value

    def _claim(self, text: str) -> str:
        """A claim's text, as a secret: a job, a task and an issuer have many tokens."""
        found = self._claimed.get(text)
        if found is None:
            if len(self._claimed) > _ROOM:
                self._claimed.clear()
            found = self._claimed[text] = self.secret(text.encode("utf-8", "replace")).decode()
        return found

    # -- names

    def name(self, value: bytes) -> bytes:
        """What stands for a name, an address, an id or free text: word by word, Nomad's own words and what is between
        words kept."""
        found = self._names.get(value)
        if found is None:
            try:
                text = value.decode()
            except UnicodeDecodeError:
                return self.noise("bytes", value, len(value))
            if len(text) == 36 and UUID.fullmatch(text):
                return self._uuid(text).encode()  # sooner made than remembered
            if len(self._names) > _ROOM:
                self._names.clear()
            found = self._names[value] = _TOKENS.sub(self._token, text).encode()
        return found

    def talk(self, value: bytes) -> bytes:
        """Text whose addresses, e-mail addresses and credentials of URLs alone are replaced."""
        try:
            text = self.url(value).decode()
        except UnicodeDecodeError:
            return self.noise("bytes", value, len(value))
        return _TALK.sub(self._addresses, text).encode()

    def url(self, value: bytes) -> bytes:
        """Text in which the credentials and the query values of URLs are replaced as secrets are."""

        def replace(match: re.Match[str]) -> str:
            secret = match[2] if match[1] is not None else match[0]
            replaced = ":".join(self.secret(part.encode()).decode() for part in secret.split(":"))
            return f"{match[1]}={replaced}" if match[1] is not None else replaced

        try:
            return _CREDENTIALS.sub(replace, value.decode()).encode()
        except UnicodeDecodeError:
            return value

    def _addresses(self, match: re.Match[str]) -> str:
        if match["email"]:
            return _WORD.sub(lambda word: self._word(word[0]), match[0])
        return match[0] if match["uuid"] or match["time"] else self._token(match)

    def _token(self, match: re.Match[str]) -> str:
        text = match[0]
        match match.lastgroup:
            case "uuid":
                return self._uuid(text)
            case "time" | "launch":
                return text
            case "mac":
                noise = iter(self.noise("mac", text.lower().encode(), 6))
                made = ":".join(f"{next(noise) & (0xFE if i == 0 else 0xFF):02x}" for i in range(6))
                return made if text == text.lower() else made.upper()
            case "ip6":
                return self._ip6(text)
            case "ip4" | "dot":
                return self._ip4(text, match["dot"])
        return self._word(text)

    def _uuid(self, text: str) -> str:
        digits = self.noise("uuid", text.lower().encode(), 16).hex()
        made = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return made if text == text.lower() else made.upper()

    def _ip4(self, text: str, dot: str) -> str:
        """Another address; this network's, loopback, multicast and reserved ones stay what they are."""
        octets = [int(part) for part in text.split(dot)]
        if max(octets) > 255:
            return _WORD.sub(lambda word: self._word(word[0]), text)
        address = int.from_bytes(bytes(octets), "big")
        if _reserved(address):
            return text
        while True:
            address = self._feistel(address, 1 << 32, "ip4")
            if not _reserved(address):
                return dot.join(str(octet) for octet in address.to_bytes(4, "big"))

    def _ip6(self, text: str) -> str:
        try:
            address = ipaddress.IPv6Address(text)
        except ValueError:
            return _WORD.sub(lambda word: self._word(word[0]), text)
        if address.is_loopback or address.is_unspecified:
            return text
        return str(ipaddress.IPv6Address(b"\xfd" + self.noise("ip6", address.packed, 15)))

    def _word(self, word: str) -> str:
        found = self._words.get(word)
        if found is None:
            if len(self._words) > _ROOM:
                self._words.clear()
            found = self._words[word] = word if _stays(word) else self._other_word(word)
        return found

    def _other_word(self, word: str) -> str:
        if LONG <= len(word) < 2 * LONG and re.fullmatch(r"\d*[a-f][0-9a-f]*", word, re.ASCII):
            return self.noise("hex", word.encode(), len(word)).hex()[: len(word)]
        while _stays(word := self._permuted(word, range(len(word)), "word")):
            pass
        return word

    # -- permutations

    def _permuted(self, text: str, places: range | list[int], label: str) -> str:
        """Other characters of the same classes at some places of a text, so that no two texts become one."""
        classes = [_class(text[i]) for i in places]
        if classes and len(classes) == len(text) and text.isdigit() and text.isascii() and text[0] != "0":
            classes[0] = (0x31, 9)  # a number, and of as many digits
        size = prod(count for _, count in classes)
        if size < 2:
            return text
        form = list(text)
        if size >= _WIDE:
            if len(classes) >= _TELLING and text.isascii():
                return self._long(text.encode()).decode()
            stream = self.noise(label, text.encode(), 4 * len(classes))
            numbers = [int.from_bytes(stream[4 * i : 4 * i + 4], "big") % count for i, (_, count) in enumerate(classes)]
        else:
            number = 0
            for i, (first, count) in zip(places, classes, strict=True):
                number = number * count + ord(text[i]) - first
                form[i] = "\0"
            number = self._feistel(number, size, f"{label} {''.join(form)} {classes}")
            numbers = []
            for _, count in reversed(classes):
                number, digit = divmod(number, count)
                numbers.append(digit)
            numbers.reverse()
        for i, (first, _), digit in zip(places, classes, numbers, strict=True):
            form[i] = chr(first + digit)
        return "".join(form)

    def _feistel(self, number: int, size: int, tweak: str) -> int:
        """A permutation of the numbers below `size`, by walking a cycle of one of a power of four."""
        half = max(1, ((size - 1).bit_length() + 1) // 2)
        mask = (1 << half) - 1
        key = self.noise("feistel", tweak.encode(), 32)
        while True:
            left, right = number >> half, number & mask
            for turn in range(_ROUNDS):
                digest = blake2b(right.to_bytes(8, "big"), key=key, digest_size=8, salt=bytes([turn])).digest()
                left, right = right, left ^ (int.from_bytes(digest, "big") & mask)
            number = left << half | right
            if number < size:
                return number


def _stays(word: str) -> bool:
    """Nomad's own words, numbers of up to four digits, durations."""
    return word.lower() in WORDS or bool(_NUMBER.fullmatch(word) or _DURATION.fullmatch(word))


def _reserved(address: int) -> bool:
    return address >> 24 in (0, 127) or address >> 24 >= 224


def _class(character: str) -> tuple[int, int]:
    code = ord(character)
    return next((first, count) for first, count in _CLASSES if first <= code < first + count)


def _other(character: str, number: int) -> str:
    first, count = _FOREIGN[len(character.encode())]
    return chr(first + number % count)
