"""The control socket: how a terminal, a bot or a script uses a running node on the same machine.

`DIR/control.sock`, mode 0600, so it is the file system that says who may. One JSON object a line
each way: a request names what to `do` and an `id`, which its reply carries; replies come in any
order. What cannot be served is answered with one sentence and changes nothing.
"""

import json
import logging
import os
import socket
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import msgspec
import trio

from node.effects import Answer
from node.errors import NODE_ENDED, NodeEndedError, OperatorError
from node.game.receipts import Receipt
from node.limits import TokenBucket
from node.mempool import AnyOperation
from node.runtime import ProtocolRuntime
from node.view import TableView, parse_view

log = logging.getLogger(__name__)

SOCKET_FILE = "control.sock"
NAME_BYTES_MAX = 107
"""What the operating system stores of a socket's name (unix(7))."""
OPEN_FILES = Path("/proc/self/fd")
"""Where Linux names a process's open folders (proc(5))."""
CLIENTS_MAX = 64
REQUESTS_MAX = 64
"""Requests of one client under way; it is not read further until one is answered."""
LINE_BYTES_MAX = 256 << 10
"""One request: more operations than one action holds."""
REPLY_BYTES_MAX = 4 << 20
"""One reply, as a client puts up with it: a view of a table with every bet made."""
OPERATIONS_MAX = 4_096
OPERATIONS_PER_SECOND = 2_000
"""Of one client, in the long run: more than any player means, less than the table settles."""
OPERATIONS_BURST = 8_192
WRITE_SECONDS = 10
"""A client that takes nothing for so long is disconnected."""
EVENTS_KEPT = 256
"""Events that a client has received for a subscriber and not handed over; the oldest give way."""
SENTENCE_CHARS_MAX = 400
_READ_BYTES = 64 << 10

Id = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class _Request(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True
):
    id: Id = 0


class View(_Request, frozen=True, tag="view"):
    """Ask for the table as the player here sees it; `session` is the game to show, -1 any."""

    session: Annotated[int, msgspec.Meta(ge=-1)] = -1


class Status(_Request, frozen=True, tag="status"):
    """Ask for what the node has done and whom it is linked to."""


class Why(_Request, frozen=True, tag="why"):
    """Ask why nothing moves."""


class Wait(_Request, frozen=True, tag="wait"):
    """Ask to be told when a block above `height` is final."""

    height: Annotated[int, msgspec.Meta(ge=0)]


class Submit(_Request, frozen=True, tag="submit"):
    """Submit operations together; answered when each is refused or final."""

    operations: Annotated[tuple[AnyOperation, ...], msgspec.Meta(max_length=OPERATIONS_MAX)]


class Watch(_Request, frozen=True, tag="watch"):
    """Ask for every event from now on, a line each."""


class Asked(_Request, frozen=True, tag="asked"):
    """Ask to be told when more than `count` newcomers have asked to join at this node."""

    count: Annotated[int, msgspec.Meta(ge=0)]


class Invite(_Request, frozen=True, tag="invite"):
    """Ask for an invite to this table, for one person."""


class Stop(_Request, frozen=True, tag="stop"):
    """End the node in good order."""


Request = View | Status | Why | Wait | Submit | Watch | Asked | Invite | Stop
_decode_request = msgspec.json.Decoder(Request).decode


async def serve_control(
    runtime: ProtocolRuntime,
    folder: Path,
    task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the runtime on the folder's control socket until it ends or this is cancelled.

    The caller holds the folder for itself: a socket that is there is one that a crash left.

    Raises:
        OperatorError: The socket cannot be made; in a group, as it leaves a nursery.
    """
    path = folder / SOCKET_FILE
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(_listen(folder)))
    server = _Server(runtime)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, server.handle, [listener])
            task_status.started()
            await runtime.ended.wait()
            nursery.cancel_scope.cancel()
    finally:
        path.unlink(missing_ok=True)


def _listen(folder: Path) -> socket.socket:
    path = folder / SOCKET_FILE
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with _socket_name(folder) as name:
            listener.bind(name)
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)  # nobody can connect before it listens
        listener.listen(CLIENTS_MAX)
    except OSError as error:
        listener.close()
        raise OperatorError(f"cannot make {path}: {error.strerror}") from None
    except OperatorError:
        listener.close()
        raise
    return listener


@contextmanager
def _socket_name(folder: Path) -> Iterator[str]:
    """Yield a name for the folder's socket that fits; a long path is named by an open folder."""
    path = folder / SOCKET_FILE
    if len(os.fsencode(path)) <= NAME_BYTES_MAX:
        yield str(path)
        return
    if not OPEN_FILES.is_dir():
        raise OperatorError(
            f"{path} has {len(os.fsencode(path))} bytes, and the name of a socket "
            f"{NAME_BYTES_MAX} at most: use a folder with a shorter path"
        )
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(OPEN_FILES / str(opened) / SOCKET_FILE)
    finally:
        os.close(opened)


class _Server:
    """Serves clients side by side; one that misbehaves ends its own connection only."""

    def __init__(self, runtime: ProtocolRuntime) -> None:
        self._runtime = runtime
        self._clients = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one client to its end; no exception of it leaves, but a cancellation."""
        if self._clients >= CLIENTS_MAX:
            await _Connection(stream, self._runtime).refuse(
                f"{CLIENTS_MAX} clients use this node already; no more are served"
            )
            return
        self._clients += 1
        try:
            await _Connection(stream, self._runtime).run()
        except Exception:
            # A terminal must not end the node that it looks at.
            log.exception("control client failed")
        finally:
            self._clients -= 1


class _Connection:
    """One client: reads its lines, starts a task for each request, and writes the replies."""

    def __init__(self, stream: trio.SocketStream, runtime: ProtocolRuntime) -> None:
        self._stream = stream
        self._runtime = runtime
        self._writing = trio.Lock()
        self._free = trio.Semaphore(REQUESTS_MAX)
        self._rate = TokenBucket(OPERATIONS_PER_SECOND, OPERATIONS_BURST)

    async def run(self) -> None:
        lines = _Lines(self._stream, LINE_BYTES_MAX)
        async with trio.open_nursery() as nursery:
            try:
                while (line := await lines.next()) is not None:
                    await self._free.acquire()
                    nursery.start_soon(self._serve, line)
            except _TooLongError:
                await self.refuse(f"a line of more than {LINE_BYTES_MAX} bytes")
            except trio.BrokenResourceError:
                pass  # it is gone
            nursery.cancel_scope.cancel()

    async def refuse(self, sentence: str) -> None:
        """Say why and close."""
        await self._reply({"id": 0, "error": sentence})
        await trio.aclose_forcefully(self._stream)

    async def _serve(self, line: bytes) -> None:
        try:
            try:
                request = _decode_request(line)
            except msgspec.DecodeError as error:
                problem = str(error)[:SENTENCE_CHARS_MAX]
                await self._reply({"id": 0, "error": f"the request cannot be read: {problem}"})
                return
            try:
                await self._reply({"id": request.id, **await self._perform(request)})
            except OperatorError as error:
                await self._reply({"id": request.id, "error": str(error)})
        finally:
            self._free.release()

    async def _perform(self, request: Request) -> dict[str, object]:
        runtime = self._runtime
        match request:
            case View(session=session):
                return {"view": runtime.view(None if session < 0 else session)}
            case Status():
                return {"status": runtime.status()}
            case Why():
                return {"why": runtime.why()}
            case Wait(height=height):
                return {"height": await runtime.wait_newer(height)}
            case Submit(operations=operations):
                now_ms = round(trio.current_time() * 1000)
                if wait_ms := self._rate.take(len(operations), now_ms):
                    raise OperatorError(
                        f"one client may submit {OPERATIONS_PER_SECOND} operations in a second, "
                        f"and {len(operations)} now are too many: try again in {wait_ms} ms"
                    )
                answers = await runtime.submit(operations)
                return {"answers": [(answer.height, answer.receipt) for answer in answers]}
            case Watch(id=ident):
                return await self._watch(ident)
            case Asked(count=count):
                return {"count": await runtime.reception.wait_asked(count)}
            case Invite():
                return {"invite": runtime.invite()}
            case Stop():
                log.info("stopping, as the control socket asks")
                runtime.stop()
                return {"stopping": True}

    async def _watch(self, ident: int) -> dict[str, object]:
        try:
            with self._runtime.events.subscribe() as events:
                while not self._runtime.ended.is_set():
                    event = await events.receive()
                    await self._reply({"id": ident, "event": type(event).__name__, "of": event})
        except BlockingIOError as error:
            raise OperatorError(str(error)) from None
        return {"event": "", "of": None}

    async def _reply(self, reply: Mapping[str, object]) -> None:
        line = msgspec.json.encode(reply) + b"\n"
        with trio.move_on_after(WRITE_SECONDS) as patience:
            async with self._writing:
                try:
                    await self._stream.send_all(line)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    await trio.aclose_forcefully(self._stream)  # the reader notices
        if patience.cancelled_caught:
            await trio.aclose_forcefully(self._stream)


class _TooLongError(Exception):
    """A line is longer than the limit."""


class _Lines:
    """Cuts a stream into lines of bounded length; `next` may be cancelled and called again."""

    def __init__(self, stream: trio.SocketStream, bytes_max: int) -> None:
        self._stream = stream
        self._bytes_max = bytes_max
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """Return the next line without its end, None at the end of the stream."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > self._bytes_max:
                raise _TooLongError
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                return None
            self._buffer += data
        if end > self._bytes_max:
            raise _TooLongError
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line


async def open_control(folder: Path) -> "ControlClient":
    """Connect to the node that runs on a folder; use the client in `async with`.

    Raises:
        OperatorError: No node runs there, or its socket is not for this user.
    """
    path = folder / SOCKET_FILE
    try:
        with _socket_name(folder) as name:
            return ControlClient(await trio.open_unix_socket(name))
    except (FileNotFoundError, ConnectionRefusedError):
        raise OperatorError(f"no node runs on {folder}: start it with `play` or `run`") from None
    except OSError as error:
        raise OperatorError(f"cannot use {path}: {error.strerror or error}") from None


class ControlClient:
    """A client of a control socket. Several tasks may call it at once.

    Every method raises `OperatorError` with the node's sentence, or when the node is gone.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        """Made by `open_control`."""
        self._stream = stream
        self._lines = _Lines(stream, REPLY_BYTES_MAX)
        self._is_read = False
        self._news = trio.Event()
        self._writing = trio.Lock()
        self._replies: dict[int, deque[dict[str, Any]]] = {}
        self._last_id = 0

    async def __aenter__(self) -> "ControlClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; operations that were submitted stand."""
        await trio.aclose_forcefully(self._stream)

    async def view(self, session: int = -1) -> TableView:
        """Return the table as the player at the node sees it, with this game if it is open."""
        return parse_view((await self._call("view", session=session))["view"])

    async def status(self) -> dict[str, Any]:
        """Return what the node has done, its peers, and whether it halted."""
        return dict((await self._call("status"))["status"])

    async def why(self) -> dict[str, Any]:
        """Return why nothing moves: `player` and `developer` are a sentence each."""
        return dict((await self._call("why"))["why"])

    async def wait_newer(self, height: int) -> int:
        """Wait until a block above `height` is final; return the height then."""
        return int((await self._call("wait", height=height))["height"])

    async def submit(self, operations: Sequence[AnyOperation]) -> list[Answer]:
        """Submit operations together; answers in order, the tickets count them from 0."""
        reply = await self._call("submit", operations=msgspec.to_builtins(list(operations)))
        return [
            Answer(ticket, height, msgspec.convert(receipt, Receipt))
            for ticket, (height, receipt) in enumerate(reply["answers"])
        ]

    async def wait_asked(self, count: int) -> int:
        """Wait until more than `count` have asked to join here since its start; return how many."""
        return int((await self._call("asked", count=count))["count"])

    async def invite(self) -> str:
        """Return an invite to the node's table, for one person."""
        return str((await self._call("invite"))["invite"])

    async def stop(self) -> None:
        """End the node in good order."""
        await self._call("stop")

    async def subscribe(self) -> int:
        """Ask for events from now on; `next_event` returns them, by the number returned here."""
        return await self._ask("watch")

    async def next_event(self, subscription: int) -> tuple[str, dict[str, Any]]:
        """Wait for an event; returns its name in `node.events` and its fields."""
        reply = await self._next_reply(subscription)
        if not reply["event"]:
            raise NodeEndedError
        return reply["event"], reply["of"]

    async def _call(self, do: str, **fields: object) -> dict[str, Any]:
        ident = await self._ask(do, **fields)
        try:
            return await self._next_reply(ident)
        finally:
            self._replies.pop(ident, None)

    async def _ask(self, do: str, **fields: object) -> int:
        self._last_id += 1
        ident = self._last_id
        line = json.dumps({"do": do, "id": ident, **fields}).encode() + b"\n"
        async with self._writing:
            self._replies[ident] = deque(maxlen=EVENTS_KEPT)
            try:
                await self._write(line)
            except trio.Cancelled:
                del self._replies[ident]
                raise
            except (OSError, trio.ClosedResourceError):
                raise NodeEndedError from None
        return ident

    async def _write(self, line: bytes) -> None:
        """Send a line, or nothing of it if this is cancelled before; halfway, the connection ends."""
        sent = 0
        try:
            while sent < len(line):
                sent += await self._stream.socket.send(line[sent:])
        except trio.Cancelled:
            if sent:
                await self.aclose()  # nothing may follow half a line
            raise

    async def _next_reply(self, ident: int) -> dict[str, Any]:
        """Wait for the next reply with this id; one of those who wait reads for all."""
        while not self._replies[ident]:
            if self._is_read:
                await self._news.wait()
                continue
            self._is_read = True
            try:
                self._sort(await self._read())
            finally:
                self._is_read = False
                self._news.set()
                self._news = trio.Event()
        reply = self._replies[ident].popleft()
        if "error" in reply:
            if reply["error"] == NODE_ENDED:
                raise NodeEndedError
            raise OperatorError(str(reply["error"]))
        return reply

    async def _read(self) -> dict[str, Any]:
        try:
            line = await self._lines.next()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            line = None
        except _TooLongError:
            raise OperatorError(
                f"the node sent a line of more than {REPLY_BYTES_MAX} bytes"
            ) from None
        if line is None:
            raise NodeEndedError
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _sort(self, reply: dict[str, Any]) -> None:
        waiting = self._replies.get(reply["id"])
        if waiting is not None:
            waiting.append(reply)
        elif reply["id"] == 0:
            raise OperatorError(str(reply["error"]))
