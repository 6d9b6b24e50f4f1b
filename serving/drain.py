"""Ends a server without losing a request that was sent before it was told to: uvicorn's own end does lose some.

uvicorn stops listening at once and closes each connection that has no request under way. That resets connections that
the system has accepted and nobody has taken yet, and drops requests that lie unread in a socket.
"""

import asyncio
import socket

import uvicorn
from typing_extensions import override

LINGER_SECONDS = 0.3
"""For so long all goes on as before: a connection is taken from the queue at each turn of the loop."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which goes on for a moment before it shuts down."""

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not self.force_exit:
            await asyncio.sleep(LINGER_SECONDS)
        await super().shutdown(sockets)
