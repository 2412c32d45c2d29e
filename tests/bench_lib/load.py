"""Load on one server: a fixed number of persistent connections, each of which asks again as soon as
it has its answer."""

import asyncio
import threading
import time
import urllib.parse
import urllib.request
from array import array
from dataclasses import dataclass, field

from cloud_lib import Refusal

from .figures import megabytes, memory, percentile

CONNECTIONS = 16

# The interval between measurements of the server's memory, in seconds.
LOOK = 0.25

# The number of steps in the printed course of the memory.
STEPS = 10


@dataclass
class Load:
    """The work of a server under load."""

    requests: int
    seconds: float
    # The latency of each request, as the client saw it.
    latencies: array
    # The length of one body, in bytes.
    length: int

    @classmethod
    def of(cls, parts: list["Load"]) -> "Load":
        """Combines several loads with the same file."""
        latencies = array("d")
        for part in parts:
            latencies.extend(part.latencies)
        return cls(sum(part.requests for part in parts), sum(part.seconds for part in parts), latencies, parts[0].length)

    def described(self) -> str:
        ordered = sorted(self.latencies)
        low, high = (1000 * percentile(ordered, share) for share in (0.5, 0.99))
        rate = f"{self.requests / self.seconds:,.0f} requests/s"
        return f"{rate}, p50 {low:.2f} ms, p99 {high:.2f} ms ({self.requests:,} of {self.length:,} bytes)"


class _Connection(asyncio.Protocol):
    """One connection. Every measured answer has a `Content-Length`."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._buffer = bytearray()
        self._end = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        if self._run.left == 0:
            self._transport.close()
            return
        self._run.left -= 1
        self._asked = time.perf_counter()
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._end == 0 and (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            self._end = head + 4 + self._length(bytes(self._buffer[:head]))
        if self._end and len(self._buffer) >= self._end:
            self._run.latencies.append(time.perf_counter() - self._asked)
            self._buffer.clear()
            self._end = 0
            self._ask()

    def _length(self, head: bytes) -> int:
        if not head.startswith(b"HTTP/1.1 200"):
            self._run.fail(f"it answered {head.splitlines()[0].decode(errors='replace')}")
        _, found, rest = head.lower().partition(b"content-length:")
        if not found:
            self._run.fail("an answer has no Content-Length")
        return int(rest.split(b"\r\n", 1)[0])

    def connection_lost(self, error: Exception | None) -> None:
        if self._end or self._buffer or error is not None:
            self._run.fail(f"a connection was cut: {error}")
        self._run.open -= 1
        if self._run.open == 0 and not self._run.over.done():
            self._run.over.set_result(None)


@dataclass
class _Run:
    request: bytes
    left: int
    open: int
    over: asyncio.Future
    latencies: array = field(default_factory=lambda: array("d"))

    def fail(self, why: str) -> None:
        if not self.over.done():
            self.over.set_exception(Refusal(f"the server failed under load: {why}"))


def drive(url: str, requests: int, connections: int = CONNECTIONS) -> Load:
    """Requests `url` this many times, over this many connections."""
    with urllib.request.urlopen(url) as answer:
        length = len(answer.read())
    return asyncio.run(_drive(urllib.parse.urlsplit(url), requests, connections, length))


async def _drive(url: urllib.parse.SplitResult, requests: int, connections: int, length: int) -> Load:
    loop = asyncio.get_running_loop()
    request = f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode()
    run = _Run(request, requests, connections, loop.create_future())
    started = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(run), url.hostname, url.port)
    await run.over
    return Load(requests, time.perf_counter() - started, run.latencies, length)


class Memory:
    """Watches the resident memory of a process during a `with` block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen: list[int] = []

    def __enter__(self) -> "Memory":
        self.seen.append(memory(self._pid))
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self.seen.append(memory(self._pid))

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seen.append(memory(self._pid))

    def described(self) -> str:
        """The memory at the start, at the end and at its peak, and the course between."""
        course = [self.seen[round(step * (len(self.seen) - 1) / STEPS)] / 1e6 for step in range(STEPS + 1)]
        start, end, most = (megabytes(count) for count in (self.seen[0], self.seen[-1], max(self.seen)))
        return f"start {start}, end {end}, most {most}; each tenth: {' '.join(f'{step:.1f}' for step in course)}"
