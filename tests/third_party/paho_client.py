"""paho-mqtt against the broker: paho_client.py HOST PORT"""

import queue
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, PORT = sys.argv[1], int(sys.argv[2])
WAIT = 120


class Client:
    """A client whose messages and acknowledgements are waited for."""

    def __init__(self, version, client_id="", clean=True, expiry=0, will=None):
        is_5 = version == mqtt.MQTTv5
        extra = {} if is_5 else {"clean_session": clean}
        self.is_5 = is_5
        self.c = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, **extra
        )
        self.messages, self.events = queue.Queue(), queue.Queue()
        self.c.on_message = lambda c, u, m: self.messages.put(m)
        self.c.on_connect = lambda c, u, f, r, p: self.events.put(("connect", f, r))
        self.c.on_subscribe = lambda c, u, m, r, p: self.events.put(("subscribe", r))
        if will:
            self.c.will_set(*will)
        properties = None
        if is_5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
        self.c.connect(
            HOST, PORT, keepalive=30, properties=properties,
            **({"clean_start": clean} if is_5 else {}),
        )
        self.c.loop_start()
        _, self.flags, reason = self.events.get(timeout=WAIT)
        assert reason == 0, reason

    def subscribe(self, topic, qos=0):
        if self.is_5:
            self.c.subscribe(topic, options=SubscribeOptions(qos=qos))
        else:
            self.c.subscribe(topic, qos)
        _, reasons = self.events.get(timeout=WAIT)
        assert all(not r.is_failure for r in reasons), reasons

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        self.c.publish(topic, payload, qos, retain, properties).wait_for_publish(WAIT)

    def take(self):
        return self.messages.get(timeout=WAIT)

    def none(self):
        try:
            raise AssertionError(self.messages.get(timeout=0.3).payload)
        except queue.Empty:
            pass

    def lose(self):
        """The connection breaks: no DISCONNECT."""
        self.c.loop_stop()
        self.c.socket().close()

    def close(self):
        self.c.disconnect()
        self.c.loop_stop()


def run(version):
    name = f"paho/{version}"
    a, b = Client(version), Client(version)
    for qos in (0, 1, 2):
        a.subscribe(f"{name}/{qos}/+", qos)
        b.publish(f"{name}/{qos}/x", b"payload", qos)
        message = a.take()
        assert (message.topic, message.payload, message.qos) == (f"{name}/{qos}/x", b"payload", qos)

    b.publish(f"{name}/retained", b"kept", 1, retain=True)
    a.subscribe(f"{name}/retained", 1)
    message = a.take()
    assert (message.payload, message.retain) == (b"kept", True)
    b.publish(f"{name}/retained", b"", 1, retain=True)
    assert a.take().payload == b""
    Client(version).subscribe(f"{name}/retained", 1)

    a.subscribe(f"{name}/will", 1)
    Client(version, will=(f"{name}/will", b"gone", 1, False)).lose()
    assert a.take().payload == b"gone"

    d = Client(version, f"durable-{version}", clean=True, expiry=0)
    d.close()
    d = Client(version, f"durable-{version}", clean=False, expiry=60)
    assert not d.flags.session_present
    d.subscribe(f"{name}/durable", 2)
    d.close()
    for i in range(10):
        b.publish(f"{name}/durable", str(i), 2)
    d = Client(version, f"durable-{version}", clean=False, expiry=60)
    # 3.1 has no word for it.
    assert d.flags.session_present or version == mqtt.MQTTv31
    assert [d.take().payload for _ in range(10)] == [str(i).encode() for i in range(10)]
    d.none()
    d.close()

    members = [Client(version) for _ in range(3)]
    for member in members:
        member.subscribe(f"$share/g/{name}/shared", 1)
    for i in range(30):
        b.publish(f"{name}/shared", str(i), 1)
    b.publish(f"{name}/shared/end", b"", 1)
    seen = []
    end = time.monotonic() + WAIT
    while len(seen) < 30:
        assert time.monotonic() < end, f"{len(seen)} of 30 came"
        for member in members:
            try:
                seen.append(member.messages.get(timeout=0.2).payload)
            except queue.Empty:
                pass
    assert sorted(map(int, seen)) == list(range(30))
    for member in members:
        member.none()


def run_5_only():
    a, b = Client(mqtt.MQTTv5), Client(mqtt.MQTTv5)
    a.subscribe("paho/properties", 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.ResponseTopic = "paho/answer"
    properties.CorrelationData = b"\x00\x01"
    properties.UserProperty = [("k", "1"), ("k", "2")]
    properties.MessageExpiryInterval = 60
    b.publish("paho/properties", b"x", 1, properties=properties)
    got = a.take().properties
    assert got.ContentType == "text/plain" and got.ResponseTopic == "paho/answer"
    assert got.CorrelationData == b"\x00\x01" and got.UserProperty == [("k", "1"), ("k", "2")]
    assert got.MessageExpiryInterval == 60


for protocol in (mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5):
    run(protocol)
run_5_only()
