"""aiomqtt against the broker: aiomqtt_client.py HOST PORT"""

import asyncio
import socket
import sys

import aiomqtt

HOST, PORT = sys.argv[1], int(sys.argv[2])
WAIT = 120


def client(version, **options):
    return aiomqtt.Client(HOST, PORT, protocol=version, timeout=WAIT, **options)


async def take(c):
    return await asyncio.wait_for(anext(aiter(c.messages)), WAIT)


async def run(version):
    name = f"aiomqtt/{version.name}"
    async with client(version) as a, client(version) as b:
        for qos in (0, 1, 2):
            await a.subscribe(f"{name}/{qos}/#", qos=qos)
            await b.publish(f"{name}/{qos}/x", b"payload", qos=qos)
            message = await take(a)
            assert (str(message.topic), message.payload, message.qos) == (
                f"{name}/{qos}/x", b"payload", qos,
            )

        await b.publish(f"{name}/retained", b"kept", qos=1, retain=True)
        await a.subscribe(f"{name}/retained", qos=1)
        message = await take(a)
        assert message.payload == b"kept" and message.retain
        await b.publish(f"{name}/retained", b"", qos=1, retain=True)
        assert (await take(a)).payload == b""

        await a.subscribe(f"{name}/will", qos=1)
        will = aiomqtt.Will(f"{name}/will", b"gone", qos=1)
        try:
            async with client(version, will=will) as lost:
                lost._client.socket().shutdown(socket.SHUT_RDWR)
                await asyncio.sleep(0.2)
        except aiomqtt.MqttError:
            pass
        assert (await take(a)).payload == b"gone"

        async with client(version) as one, client(version) as two:
            for member in (one, two):
                await member.subscribe(f"$share/g/{name}/shared", qos=1)
            for i in range(20):
                await b.publish(f"{name}/shared", str(i), qos=1)
            seen = []

            async def collect(member):
                async for message in member.messages:
                    seen.append(int(message.payload))

            tasks = [asyncio.create_task(collect(member)) for member in (one, two)]
            for _ in range(100):
                if len(seen) >= 20:
                    break
                await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            assert sorted(seen) == list(range(20)), seen


async def main():
    for version in (aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5):
        await run(version)


asyncio.run(main())
