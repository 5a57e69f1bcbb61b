"""The operations of the bench, by the asynchronous client of `qemu.qmp`.

Arguments: an operation, and the path of a monitor's socket. For each number
on its input it runs the operation this number of times. It prints the seconds
and the processor seconds.
"""

import asyncio
import sys
import time

from qemu.qmp import EventListener, QMPClient


class Client(QMPClient):
    """Ends its messages with line ends, because the scripted peer needs them."""

    def _do_send(self, msg):
        super()._do_send(msg)
        self._writer.write(b"\n")


async def round_trip(client, times):
    for _ in range(times):
        await client.execute("query-status")


async def in_flight(client, times):
    tasks = (round_trip(client, times // 8) for _ in range(8))
    await asyncio.gather(*tasks)


async def schema(client, times):
    for _ in range(times):
        await client.execute("query-qmp-schema")


async def events(client, times, listeners=1):
    heard = [EventListener() for _ in range(listeners)]

    async def hear(listener):
        for _ in range(times):
            await listener.get()

    with client.listen(*heard):
        await asyncio.gather(client.execute("query-name"), *map(hear, heard))


async def events_ten(client, times):
    await events(client, times, 10)


OPERATIONS = {
    "round-trip": round_trip,
    "in-flight": in_flight,
    "schema": schema,
    "events": events,
    "events-ten": events_ten,
}


async def main():
    operation = OPERATIONS[sys.argv[1]]
    client = Client()
    await client.connect(sys.argv[2])
    for line in sys.stdin:
        begun, cpu_begun = time.perf_counter(), time.process_time()
        await operation(client, int(line))
        print(time.perf_counter() - begun, time.process_time() - cpu_begun, flush=True)


asyncio.run(main())
