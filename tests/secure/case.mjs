// One login with MQTT.js, and what it may do afterwards; runs in Node and in a page alike.
//
// globalThis has: mqtt; Buffer or the like as bytes(text); scram(user, password), an exchange whose
// next(message) gives what is to be said next; open(path) for Unix sockets.
export async function runCase(c) {
    const { mqtt } = globalThis
    const method = 'SCRAM-SHA-256'
    const assert = (condition, what) => {
        if (!condition) throw new Error(`${c.name}: ${what}`)
    }
    const within = (promise, what) => {
        let timer
        const late = new Promise((_, reject) => {
            timer = setTimeout(() => reject(new Error(`${c.name}: no ${what} in time`)), 100000)
        })
        return Promise.race([promise, late]).finally(() => clearTimeout(timer))
    }

    const options = {
        clientId: c.client_id, protocolVersion: c.version, reconnectPeriod: 0, connectTimeout: 100000,
        ...(c.user === null ? {} : { username: c.user, password: c.password }), ...c.tls,
    }
    let exchange = null
    let renewed = () => {}
    if (c.scram) {
        exchange = await globalThis.scram(c.scram[0], c.scram[1])
        options.properties = {
            authenticationMethod: method,
            authenticationData: globalThis.bytes(await exchange.next(null)),
        }
    }
    const client = c.path
        ? new mqtt.MqttClient(() => globalThis.open(c.path), options)
        : mqtt.connect(c.url, options)
    client.handleAuth = async (packet, callback) => {
        const data = new TextDecoder().decode(packet.properties.authenticationData)
        const answer = await exchange.next(data)
        if (packet.reasonCode === 0) {
            renewed(answer)
            return callback()
        }
        callback(null, { cmd: 'auth', reasonCode: 24, properties: {
            authenticationMethod: method, authenticationData: globalThis.bytes(answer) } })
    }
    const reauthenticate = async (user, password) => {
        exchange = await globalThis.scram(user, password)
        const done = new Promise((resolve) => {
            renewed = resolve
            client.once('disconnect', (packet) => resolve(packet.reasonCode))
            client.once('close', () => resolve('closed'))
        })
        client._sendPacket({ cmd: 'auth', reasonCode: 25, properties: {
            authenticationMethod: method,
            authenticationData: globalThis.bytes(await exchange.next(null)) } })
        return within(done, 'end of the re-authentication')
    }
    const received = []
    client.on('message', (topic, payload) => received.push(`${topic} ${payload}`))
    const came = async (message) => {
        for (let i = 0; i < 10000 && !received.includes(message); i++) {
            await new Promise((resolve) => setTimeout(resolve, 10))
        }
        assert(received.includes(message), `${message} does not come`)
    }
    // What a promise is refused with.
    const refusal = (promise) => promise.then(
        (grants) => grants?.[0]?.qos ?? 0, (error) => error.code ?? error.packet?.granted?.[0] ?? String(error))

    try {
        const outcome = await within(new Promise((resolve) => {
            client.once('connect', (packet) => resolve({ code: 0, packet }))
            client.once('error', (error) => resolve({ code: error.code ?? error.message }))
            client.once('close', () => resolve({ code: 'closed' }))
        }), 'answer')
        client.on('error', () => {})
        if (c.expect !== 0) {
            const isRefused = c.expect === null
                ? outcome.code !== 0 : outcome.code === c.expect
            assert(isRefused, `${JSON.stringify(outcome.code)} instead of ${c.expect}`)
            return
        }
        assert(outcome.code === 0, `refused: ${outcome.code}`)
        if (c.scram) {
            const data = new TextDecoder().decode(outcome.packet.properties.authenticationData)
            assert(await exchange.next(data) === 'verified', 'the server shows that it knows the key')
            assert(await reauthenticate(...c.scram) === 'verified', 'authenticated again')
        }
        await within(client.subscribeAsync(c.topic, { qos: 1 }), 'SUBACK')
        await within(client.publishAsync(c.topic, c.client_id, { qos: 1 }), 'PUBACK')
        await came(`${c.topic} ${c.client_id}`)
        const refused = c.version === 5 ? 0x87 : 0x80
        const denied = await within(refusal(client.subscribeAsync('secret/#', { qos: 1 })), 'SUBACK')
        assert(denied === refused, `subscribing to secret/#: ${denied}`)
        const publish = client.publishAsync('secret/x', 'x', { qos: 1 })
        const code = await within(refusal(publish), 'PUBACK')
        assert(code === (c.version === 5 ? 0x87 : 0), `publishing to secret/x: ${code}`)
        if (c.scram) {
            const code = await reauthenticate(c.scram[0], 'wrong')
            assert(code === 0x87, `again with a wrong password: ${code}`)
        }
    } finally {
        client.end(true)
    }
}

// Runs all of them, some at a time; throws with every failure.
export async function runAll(cases, run) {
    const failures = []
    const waiting = [...cases]
    await Promise.all(Array.from({ length: 8 }, async () => {
        for (let c = waiting.shift(); c; c = waiting.shift()) {
            await run(c).catch((error) => failures.push(error.message))
        }
    }))
    if (failures.length > 0) throw new Error(failures.join('\n'))
}
