#!/usr/bin/env python3
"""Lets a client of MQTT over TCP speak to a broker over WebSocket: websocket-bridge.py URL.

Accepts on a free port of 127.0.0.1, prints that port, and opens a WebSocket to URL for each
connection. Bytes pass both ways as they come; when one end closes, so does the other, at once."""
import asyncio
import ssl
import sys

import websockets

CHUNK = 65536


async def upwards(reader, socket):
    try:
        while data := await reader.read(CHUNK):
            await socket.send(data)
    except OSError:
        pass


async def downwards(socket, writer):
    async for message in socket:
        writer.write(message)
        await writer.drain()


async def bridge(reader, writer, url, context):
    try:
        async with websockets.connect(
            url, subprotocols=['mqtt'], ssl=context, compression=None, max_size=None,
            ping_interval=None, close_timeout=1, proxy=None,
        ) as socket:
            ways = [asyncio.ensure_future(upwards(reader, socket)),
                    asyncio.ensure_future(downwards(socket, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            # The broker has closed: what it said before goes out first. Or the client has.
            writer.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    except (OSError, websockets.WebSocketException):
        pass
    finally:
        writer.close()


async def main(url):
    context = None
    if url.startswith('wss:'):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = await asyncio.start_server(
        lambda reader, writer: bridge(reader, writer, url, context), '127.0.0.1', 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if len(sys.argv) != 2:
    sys.exit(__doc__)
try:
    asyncio.run(main(sys.argv[1]))
except KeyboardInterrupt:
    pass
