"""One node of PySyncObj with clients: operations of 100 bytes, applied by every replica in memory."""

import itertools
import logging
import queue
import threading
import time
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated

from bench.clients import Clients, Done
from bench.processes import answer, read_line

OPERATION_BYTES = 100


class Table(SyncObj):  # type: ignore[misc]  # the library has no types
    """Counts what it is told: the least that a state machine can do."""

    def __init__(self, me: str, others: list[str], conf: SyncObjConf) -> None:
        super().__init__(me, others, conf)
        self.applied = 0

    @replicated  # type: ignore[untyped-decorator]
    def operate(self, operation: bytes) -> int:
        """Apply one operation."""
        self.applied += len(operation) > 0
        return self.applied


def run(
    table: Table, tick_s: float, clients: Clients[bytes], warm_s: float, seconds: float
) -> object:
    """Drive the node and its clients through one window."""
    begin_ns = time.perf_counter_ns() + int(warm_s * 1e9)
    end_ns = begin_ns + int(seconds * 1e9)
    clients.start((begin_ns, end_ns))
    while time.perf_counter_ns() < begin_ns:
        table.doTick(tick_s)
    cpu_s = time.process_time()
    while time.perf_counter_ns() < end_ns:
        table.doTick(tick_s)
    cpu_s = time.process_time() - cpu_s
    clients.stop()
    return {**clients.figures(), "cpu_s": cpu_s}


def main() -> None:
    """Serve one configuration, phase by phase; the node ticks on, for the others need it."""
    # Unbatched it warns of every entry that it sends twice, which is not what is measured.
    logging.disable(logging.WARNING)
    config: dict[str, Any] = read_line()
    conf = SyncObjConf(autoTick=False, **config["options"])
    table = Table(config["me"], config["others"], conf)
    tick_s = config["options"].get("autoTickPeriod", conf.autoTickPeriod)
    payload = bytes(OPERATION_BYTES)

    def submit(operation: bytes, done: Done) -> None:
        table.operate(operation, callback=lambda _result, error: done(error == 0))

    phases: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=read_phases, args=(phases,), daemon=True).start()
    while True:
        table.doTick(tick_s)
        if phases.empty():
            continue
        phase = phases.get()
        if phase is None:
            break
        if phase["phase"] == "ready":
            while not table.isReady():
                table.doTick(tick_s)
            answer("ready")
        else:
            clients = Clients(submit, [itertools.repeat(payload)] * config["clients"])
            answer(run(table, tick_s, clients, phase["warm_s"], phase["seconds"]))
    table.destroy()


def read_phases(phases: "queue.SimpleQueue[Any]") -> None:
    """Take the leader's lines as they come; None is the end."""
    while phase := read_line():
        phases.put(phase)
    phases.put(None)


if __name__ == "__main__":
    main()
