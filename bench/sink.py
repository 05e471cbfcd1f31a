"""A port that takes whatever is sent to it and says nothing: `python -m bench.sink PORT`."""

from __future__ import annotations

import asyncio
import sys

import uvloop

_BUFFER = bytearray(1 << 18)


class _Sink(asyncio.BufferedProtocol):
    def get_buffer(self, sizehint: int) -> bytearray:
        # The same for all: nobody reads what is in it.
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        pass


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
