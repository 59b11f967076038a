// MQTT.js on every transport: mqttjs.mjs CASES; MODULES names the folder with mqtt, PYTHON an
// interpreter with scramp.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { runAll, runCase } from './case.mjs'

const require = createRequire(process.env.MODULES + '/')
globalThis.mqtt = require('mqtt')
globalThis.bytes = (text) => Buffer.from(text)
globalThis.open = (path) => net.connect(path)

// An exchange of a SCRAM library of Python's.
const exchanges = []
globalThis.scram = async (user, password) => {
    const script = new URL('scram.py', import.meta.url).pathname
    const child = spawn(process.env.PYTHON, [script, user, password],
        { stdio: ['pipe', 'pipe', 'inherit'] })
    exchanges.push(child)
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    return {
        next: async (message) => {
            if (message !== null) child.stdin.write(message + '\n')
            return (await lines.next()).value
        },
    }
}

const cases = JSON.parse(readFileSync(process.argv[2]))
try {
    await runAll(cases, runCase)
    console.log(`${cases.length} logins`)
} finally {
    exchanges.forEach((child) => child.kill())
}
