"""paho-mqtt on every transport: paho_client.py CASES. A case's login gets in and may do what it may, or is
refused with the code that the case expects."""
import json
import ssl
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

TIME = 120


class Login:
    def __init__(self, case):
        self.case = case
        transport = {'mqtt': 'tcp', 'mqtts': 'tcp', 'ws': 'websockets', 'wss': 'websockets',
                     'unix': 'unix'}[case['transport']]
        version = paho.MQTTv5 if case['version'] == 5 else paho.MQTTv311
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=case['client_id'],
                                  protocol=version, transport=transport)
        if case['user'] is not None:
            self.client.username_pw_set(case['user'], case['password'])
        if case['transport'] in ('mqtts', 'wss'):
            files = case['files']
            self.client.tls_set(ca_certs=files['ca'], certfile=files.get('cert'),
                                keyfile=files.get('key'), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if transport == 'websockets':
            self.client.ws_set_options(path='/mqtt')
        self.changed = threading.Condition()
        self.code = self.grant = self.message = self.published = None
        self.client.on_connect = lambda _c, _u, _f, code, _p: self.note(code=code.value)
        self.client.on_disconnect = lambda *_: self.note(code=self.code or 'closed')
        self.client.on_subscribe = lambda _c, _u, _m, codes, _p: self.note(grant=codes[0].value)
        self.client.on_publish = lambda _c, _u, _m, code, _p: self.note(published=code.value)
        self.client.on_message = lambda _c, _u, m: self.note(message=(m.topic, m.payload.decode()))

    def note(self, **values):
        with self.changed:
            for name, value in values.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def take(self, name):
        with self.changed:
            if not self.changed.wait_for(lambda: getattr(self, name) is not None, TIME):
                raise AssertionError(f'no {name}')
            value = getattr(self, name)
            setattr(self, name, None)
            return value

    def subscribe(self, topic):
        self.client.subscribe(topic, qos=1)
        return self.take('grant')

    def publish(self, topic, payload):
        self.client.publish(topic, payload, qos=1)
        return self.take('published')

    def run(self):
        case, is_v5 = self.case, self.case['version'] == 5
        try:
            self.client.connect(case.get('path') or case['host'], case['port'])
        except OSError as error:
            assert case['expect'] is None, error
            return
        self.client.loop_start()
        try:
            code = self.take('code')
            if case['expect'] is None:
                assert code != 0, 'let in'
                return
            # paho tells the codes of 3.1.1 in those of 5.0.
            expect = case['expect'] if is_v5 else {0: 0, 4: 0x86, 5: 0x87}[case['expect']]
            assert code == expect, f'{code} instead of {expect}'
            if code != 0:
                return
            assert self.subscribe(case['topic']) == 1
            assert self.publish(case['topic'], case['client_id']) == 0
            assert self.take('message') == (case['topic'], case['client_id'])
            assert self.subscribe('secret/#') == (0x87 if is_v5 else 0x80)
            assert self.publish('secret/x', 'x') == (0x87 if is_v5 else 0)
        finally:
            self.client.disconnect()
            self.client.loop_stop()


def attempt(case):
    try:
        Login(case).run()
    except Exception as error:
        return f'{case["name"]}: {error!r} line {error.__traceback__.tb_lineno}'


cases = json.load(open(sys.argv[1]))
with ThreadPoolExecutor(8) as pool:
    failures = [failure for failure in pool.map(attempt, cases) if failure]
print(f'{len(cases)} logins')
sys.exit('\n'.join(failures) or 0)
