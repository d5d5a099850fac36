"""A node's own folder: which file is what, and the settings that are not the table's to agree on.

`bitcraps.toml` is for people to edit; everything else in the folder is written by the node alone.
"""

import difflib
import ipaddress
import random
import socket
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from node.descriptor import ADDRESSES_MAX, problem_of_name
from node.errors import OperatorError
from transport.base import Address, parse_address

CONFIG_BYTES_MAX = 64 << 10
DEFAULT_LISTEN = "0.0.0.0:0"
PORTS = range(20_000, 32_000)
"""Where port 0 is taken from: below the range that systems lend to outgoing connections, so that a
node that was down for a while finds its port free."""
PORT_TRIES = 64


@dataclass(frozen=True, slots=True)
class Folder:
    """The data folder of one node at one table."""

    root: Path

    @property
    def identity(self) -> Path:
        """The key file, mode 0600."""
        return self.root / "identity.key"

    @property
    def config(self) -> Path:
        """The settings."""
        return self.root / "bitcraps.toml"

    @property
    def table(self) -> Path:
        """The table that all its members agreed to; absent before a lobby has ended."""
        return self.root / "table.bin"

    @property
    def book(self) -> Path:
        """Where the members listen; absent while what the table file says still holds."""
        return self.root / "peers.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the operator of a node decides alone.

    `listen` may name all interfaces and port 0; `public` are the hosts to tell others in that case.
    """

    nickname: str
    listen: Address
    public: tuple[str, ...] = ()


def read_config(folder: Folder) -> Config:
    """Return the settings of a folder that `init` has made.

    Raises:
        OperatorError: The file is missing, no TOML, or a setting is unknown or out of its limits.
    """
    path = folder.config
    try:
        with path.open("rb") as stream:
            data = stream.read(CONFIG_BYTES_MAX + 1)
    except FileNotFoundError:
        raise OperatorError(f"{path} does not exist: make this folder with `init`") from None
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > CONFIG_BYTES_MAX:
        raise OperatorError(f"{path} is longer than {CONFIG_BYTES_MAX} bytes")
    try:
        settings = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OperatorError(f"{path} is not TOML: {error}") from None
    try:
        return parse_config(settings)
    except OperatorError as error:
        raise OperatorError(f"{path}: {error}") from None


def parse_config(settings: dict[str, object]) -> Config:
    """Check every setting; raises `OperatorError` naming the one that is wrong and its limit."""
    known = ("nickname", "listen", "public")
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise OperatorError(f"{key!r} is no setting; {hint}")
    if "nickname" not in settings:
        raise OperatorError('no nickname: write one, such as `nickname = "anna"`')
    nickname = settings["nickname"]
    if not isinstance(nickname, str):
        raise OperatorError(f"nickname = {nickname!r} is not a text")
    if problem := problem_of_name("nickname", nickname):
        raise OperatorError(problem)
    listen = settings.get("listen", DEFAULT_LISTEN)
    if not isinstance(listen, str):
        raise OperatorError(f"listen = {listen!r} is not a text like {DEFAULT_LISTEN!r}")
    public = settings.get("public", [])
    if not isinstance(public, list) or not all(isinstance(host, str) for host in public):
        raise OperatorError(f"public = {public!r} is not a list of host names or IP addresses")
    return Config(nickname=nickname, listen=parse_listen(listen), public=parse_public(public))


def parse_listen(text: str) -> Address:
    """Return the address to listen on; raises `OperatorError`."""
    try:
        return parse_address(text)
    except ValueError as error:
        raise OperatorError(f"listen address {error}") from None


def parse_public(hosts: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts under which others reach this node; raises `OperatorError`."""
    if len(hosts) > ADDRESSES_MAX:
        raise OperatorError(f"{len(hosts)} public hosts; the limit is {ADDRESSES_MAX}")
    for host in hosts:
        try:
            parse_address(str(Address(host, 0)))
        except ValueError:
            raise OperatorError(f"public host {host[:80]!r} is no name or IP address") from None
        if _is_wildcard(host):
            raise OperatorError(f"public host {host!r} means all interfaces; others cannot dial it")
    return tuple(hosts)


def write_config(folder: Folder, nickname: str, listen: str = DEFAULT_LISTEN) -> None:
    """Write the settings that a new folder begins with; raises `OperatorError`."""
    text = (
        "# The settings of this node. What a table agreed on stands in the table, not here.\n"
        f"nickname = {_quoted(nickname)}\n"
        "# Where to listen; 0.0.0.0 is every interface, port 0 takes a free port once and keeps it.\n"
        f"listen = {_quoted(listen)}\n"
        "# The hosts under which others reach this node, when it listens on every interface.\n"
        '# public = ["203.0.113.7"]\n'
    )
    beside = folder.config.with_suffix(".new")
    try:
        folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(folder.config)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OperatorError(f"cannot write {folder.config}: {error.strerror}") from None


def _quoted(text: str) -> str:
    """Return a TOML basic string; nicknames and addresses hold no control characters."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def reachable(listen: Address, public: Sequence[str]) -> tuple[Address, ...]:
    """Return the addresses to tell others: `public`, else the listening one, else a guess."""
    if public:
        return tuple(Address(host, listen.port) for host in public)
    if _is_wildcard(listen.host):
        return (Address(_outward_host(listen.host), listen.port),)
    return (listen,)


@contextmanager
def held_port(listen: Address) -> Iterator[Address]:
    """Yield `listen` with a concrete port and keep that port for this process meanwhile.

    Port 0 becomes a free one of `PORTS`; a port that was asked for is not checked.

    Raises:
        OperatorError: The host is not one of this machine, or no port is free.
    """
    if listen.port:
        yield listen
        return
    chance = random.SystemRandom()
    reason = "no port is free"
    for _ in range(PORT_TRIES):
        # Bound without SO_REUSEADDR and never listening: nobody else gets it, dialers are refused.
        with socket.socket(_family(listen.host)) as holder:
            try:
                holder.bind((listen.host, chance.choice(PORTS)))
            except OSError as error:
                reason = error.strerror or str(error)
                continue
            yield Address(listen.host, int(holder.getsockname()[1]))
            return
    raise OperatorError(f"cannot listen on {listen}: {reason}")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _outward_host(wildcard: str) -> str:
    """Return the address that this machine would use towards others; nothing is sent."""
    family = _family(wildcard)
    documentation = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # RFC 3849, 5737
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((documentation, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
