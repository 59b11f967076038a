// MQTT.js against the broker: mqttjs_client.mjs HOST PORT; MODULES names the folder with mqtt.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

const require = createRequire(process.env.MODULES + '/')
const mqtt = require('mqtt')
const [host, port] = process.argv.slice(2)

async function connect(protocolVersion, options = {}) {
    const client = await mqtt.connectAsync({
        host, port: Number(port), protocol: 'mqtt', protocolVersion,
        reconnectPeriod: 0, ...(protocolVersion === 3 ? { protocolId: 'MQIsdp' } : {}), ...options,
    })
    client.received = []
    client.on('message', (topic, payload, packet) =>
        client.received.push({ topic, payload: payload.toString(), packet }))
    return client
}

async function take(client) {
    for (let i = 0; i < 2400 && client.received.length === 0; i++) await pause(50)
    assert.ok(client.received.length > 0, 'a message comes')
    return client.received.shift()
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function run(version) {
    const name = `mqttjs/${version}`
    const a = await connect(version)
    const b = await connect(version)
    for (const qos of [0, 1, 2]) {
        await a.subscribeAsync(`${name}/${qos}/+`, { qos })
        await b.publishAsync(`${name}/${qos}/x`, 'payload', { qos })
        const { topic, payload, packet } = await take(a)
        assert.deepEqual([topic, payload, packet.qos], [`${name}/${qos}/x`, 'payload', qos])
    }

    await b.publishAsync(`${name}/retained`, 'kept', { qos: 1, retain: true })
    await a.subscribeAsync(`${name}/retained`, { qos: 1 })
    const { payload, packet } = await take(a)
    assert.deepEqual([payload, packet.retain], ['kept', true])
    await b.publishAsync(`${name}/retained`, '', { qos: 1, retain: true })
    assert.equal((await take(a)).payload, '')

    await a.subscribeAsync(`${name}/will`, { qos: 1 })
    const will = { topic: `${name}/will`, payload: Buffer.from('gone'), qos: 1, retain: false }
    const lost = await connect(version, { will })
    lost.on('error', () => {})
    lost.stream.destroy()
    assert.equal((await take(a)).payload, 'gone')

    const members = [await connect(version), await connect(version)]
    for (const member of members) await member.subscribeAsync(`$share/g/${name}/shared`, { qos: 1 })
    for (let i = 0; i < 20; i++) await b.publishAsync(`${name}/shared`, String(i), { qos: 1 })
    await pause(500)
    const seen = members.flatMap((member) => member.received.map((m) => Number(m.payload)))
    assert.deepEqual(seen.sort((x, y) => x - y), [...Array(20).keys()])
    assert.ok(members.every((member) => member.received.length > 0))

    for (const client of [a, b, lost, ...members]) await client.endAsync(true)
}

async function run5() {
    const a = await connect(5, { properties: { topicAliasMaximum: 4, receiveMaximum: 5 } })
    const b = await connect(5, { autoAssignTopicAlias: true, properties: { sessionExpiryInterval: 5 } })
    await a.subscribeAsync('mqttjs/alias/#', { qos: 1, properties: { subscriptionIdentifier: 7 } })
    for (let i = 0; i < 50; i++) {
        const properties = { userProperties: { i: String(i) }, messageExpiryInterval: 60 }
        await b.publishAsync(`mqttjs/alias/${i % 3}`, String(i), { qos: 1, properties })
    }
    for (let i = 0; i < 50; i++) {
        const { topic, payload, packet } = await take(a)
        assert.deepEqual([topic, payload], [`mqttjs/alias/${i % 3}`, String(i)])
        assert.equal(packet.properties.userProperties.i, String(i))
        assert.equal(packet.properties.subscriptionIdentifier, 7)
    }
    for (const client of [a, b]) await client.endAsync(true)
}

for (const version of [3, 4, 5]) await run(version)
await run5()
