"""A server that misbehaves as it is told, for the driver's tests: `odd_server.py WAY`.

hello    answers at once, and says on stderr when it has answered 200
delay    answers after 200 to 800 ms, drawn; SIGTERM has it print when it answered each request
wrong    every 1000th body has one letter changed
busy     every 10th answer says 503
extra    every 10th answer is followed by a byte
silent   never answers
short    closes in the middle of every 10th answer
drop     closes instead of giving every 10th answer
idle     closes after every 10th answer, without having said so
fussy    answers wrongly whoever says what program it is
ageing   answers on each connection 8 ms later than on the one before it
full     has room for one client, and a queue that is no longer
unfair   serves every fourth client at once, the others after 100 ms
stall    answers at once, and stands still for 0.3 s in every 0.7 s
"""

import asyncio
import json
import random
import signal
import sys
import time

BODY = b"Hello, world!\n"
DRAW = random.Random(5)


def answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


class Odd(asyncio.Protocol):
    count = clients = listener = 0
    answered: dict[int, float] = {}  # noqa: RUF012 - request to monotonic clock, all connections

    def __init__(self, way: str) -> None:
        self.way = way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        Odd.clients += 1
        self.number = Odd.clients
        if self.way == "full" and self.number == 1:
            asyncio.get_running_loop().remove_reader(Odd.listener)

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n"), "a request comes in one piece"
        if self.way == "silent":
            return
        Odd.count += 1
        if self.way == "delay":
            seconds = DRAW.uniform(0.2, 0.8)
            asyncio.get_running_loop().call_later(seconds, self.late, Odd.count - 1)
            return
        if self.way == "hello" and Odd.count == 200:
            say("served 200")
        if self.way == "ageing":
            asyncio.get_running_loop().call_later(self.number * 0.008, self.respond, Odd.count)
            return
        if self.way == "fussy" and b"user-agent:" in data.lower():
            self.transport.write(answer(BODY.upper()))
            return
        if self.way == "unfair" and self.number % 4:
            asyncio.get_running_loop().call_later(0.1, self.respond, Odd.count)
            return
        self.respond(Odd.count)

    def respond(self, count: int) -> None:
        tenth = count % 10 == 0
        if self.way == "wrong" and count % 1000 == 0:
            self.transport.write(answer(BODY.replace(b"o", b"u", 1)))
        elif self.way == "busy" and tenth:
            self.transport.write(answer(BODY, b"503 Service Unavailable"))
        elif self.way == "extra" and tenth:
            self.transport.write(answer(BODY) + b"!")
        elif self.way == "short" and tenth:
            self.transport.write(answer(BODY)[:-3])
            self.transport.close()
        elif self.way == "drop" and tenth:
            self.transport.close()
        else:
            self.transport.write(answer(BODY))
            if self.way == "idle" and tenth:
                self.transport.close()

    def late(self, number: int) -> None:
        Odd.answered[number] = time.monotonic()
        self.transport.write(answer(BODY))


def stall() -> None:
    time.sleep(0.3)
    asyncio.get_running_loop().call_later(0.4, stall)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def main(way: str) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    backlog = 1 if way == "full" else 100
    server = await loop.create_server(lambda: Odd(way), "127.0.0.1", 0, backlog=backlog)
    Odd.listener = server.sockets[0].fileno()
    say(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}")
    if way == "stall":
        stall()
    await ended.wait()
    if way == "delay":
        say("answered " + json.dumps([Odd.answered[number] for number in sorted(Odd.answered)]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
