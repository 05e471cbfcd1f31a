"""A stand-in for a service: answers `/ready`, drains on SIGTERM, misbehaves as it is told by its arguments.

`standin.py PORT [WORD...]`; words: `refuse` (exit code 2 at once), `fail` (exit code 1 at once), `stubborn` (ignores
SIGTERM and SIGINT), `degraded`, `loud` (writes much), `once=PATH` (fails unless PATH is there).
"""

import contextlib
import json
import signal
import socket
import sys
from pathlib import Path


def main() -> int:
    port, words = int(sys.argv[1]), sys.argv[2:]
    if "refuse" in words:
        print("standin: WAYPOST_COLOUR must be blue", file=sys.stderr)
        return 2
    if "fail" in words:
        print("standin: something broke", file=sys.stderr)
        return 1
    for word in words:
        if word.startswith("once=") and not Path(word.removeprefix("once=")).exists():
            return 2
    stubborn = "stubborn" in words
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN if stubborn else lambda *_: sys.exit(0))
    if "loud" in words:
        for _ in range(2000):
            print("x" * 99, flush=True)
    status = "degraded" if "degraded" in words else "ok"
    body = json.dumps({"status": status, "checks": {"postgres": {"status": "down", "error": "away"}}}).encode()
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    print("standin: serving", flush=True)
    while True:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            connection.sendall(head.encode() + body)


if __name__ == "__main__":
    sys.exit(main())
