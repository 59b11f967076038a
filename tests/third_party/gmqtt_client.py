"""gmqtt against the broker: gmqtt_client.py HOST PORT"""

import asyncio
import sys

from gmqtt import Client, Message
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

HOST, PORT = sys.argv[1], int(sys.argv[2])
WAIT = 120


async def connect(version, name, clean=True, will=None, **properties):
    client = Client(name, clean_session=clean, will_message=will, **properties)
    client.messages, client.subscribed = asyncio.Queue(), asyncio.Queue()

    async def on_message(client, topic, payload, qos, properties):
        await client.messages.put((topic, payload, qos, properties))
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda c, mid, qos, properties: c.subscribed.put_nowait(qos)
    client.set_config({"reconnect_retries": 0})
    await client.connect(HOST, PORT, version=version, keepalive=30)
    return client


async def subscribe(client, topic, qos):
    client.subscribe(topic, qos=qos)
    granted = await asyncio.wait_for(client.subscribed.get(), WAIT)
    assert list(granted) == [qos], granted


async def take(client):
    return await asyncio.wait_for(client.messages.get(), WAIT)


async def run(version, tag):
    a = await connect(version, f"gmqtt-a-{tag}")
    b = await connect(version, f"gmqtt-b-{tag}")
    for qos in (0, 1, 2):
        await subscribe(a, f"gmqtt/{tag}/{qos}", qos)
        b.publish(f"gmqtt/{tag}/{qos}", b"payload", qos=qos)
        topic, payload, got, _ = await take(a)
        assert (topic, payload, got) == (f"gmqtt/{tag}/{qos}", b"payload", qos)

    b.publish(f"gmqtt/{tag}/retained", b"kept", qos=1, retain=True)
    await asyncio.sleep(0.2)
    await subscribe(a, f"gmqtt/{tag}/retained", 1)
    _, payload, _, properties = await take(a)
    assert payload == b"kept" and properties["retain"], properties
    b.publish(f"gmqtt/{tag}/retained", b"", qos=1, retain=True)
    assert (await take(a))[1] == b""

    await subscribe(a, f"gmqtt/{tag}/will", 1)
    lost = await connect(version, f"gmqtt-lost-{tag}", will=Message(f"gmqtt/{tag}/will", "gone", qos=1))
    lost._connection._transport.abort()
    assert (await take(a))[1] == b"gone"

    members = [await connect(version, f"gmqtt-{i}-{tag}") for i in range(2)]
    for member in members:
        await subscribe(member, f"$share/g/gmqtt/{tag}/shared", 1)
    for i in range(20):
        b.publish(f"gmqtt/{tag}/shared", str(i), qos=1)
    await asyncio.sleep(1)
    counts = [member.messages.qsize() for member in members]
    assert sum(counts) == 20 and min(counts) > 0, counts

    for client in (a, b, *members):
        await client.disconnect()


async def main():
    await run(MQTTv311, "311")
    await run(MQTTv50, "50")


asyncio.run(main())
