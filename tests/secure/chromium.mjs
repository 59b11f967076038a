// MQTT.js in Chromium, in pages of two origins: chromium.mjs CASES PROFILE PORT OTHER_PORT serves
// both; PROFILE is an empty folder. Cases with "other" run in the page at the second port.
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { createRequire } from 'node:module'
import { runAll, runCase } from './case.mjs'

const require = createRequire(process.env.MODULES + '/')
const puppeteer = require('puppeteer-core')
const [file, profile, port, other] = process.argv.slice(2)
const bundle = readFileSync(process.env.MODULES + '/mqtt/dist/mqtt.min.js')

function serve(port) {
    const server = http.createServer((request, response) => {
        const isBundle = request.url === '/mqtt.min.js'
        response.setHeader('Content-Type', isBundle ? 'text/javascript' : 'text/html')
        response.end(isBundle ? bundle : '<!doctype html><script src="/mqtt.min.js"></script>')
    })
    return new Promise((resolve) => server.listen(Number(port), '127.0.0.1', () => resolve(server)))
}

const servers = [await serve(port), await serve(other)]
const browser = await puppeteer.launch({
    // By a pipe: the browser ends with this process, however that ends.
    executablePath: '/usr/bin/chromium', userDataDir: profile, headless: true, pipe: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
        '--disable-background-networking', '--disable-component-update', '--disable-sync',
        '--disable-dev-shm-usage', '--ignore-certificate-errors'],
})
try {
    const cases = JSON.parse(readFileSync(file))
    for (const [isOther, at] of [[false, port], [true, other]]) {
        const page = await browser.newPage()
        await page.goto(`http://127.0.0.1:${at}/`)
        const here = cases.filter((c) => Boolean(c.other) === isOther)
        await runAll(here, async (c) => {
            const failure = await page.evaluate(`(${runCase})(${JSON.stringify(c)})
                .then(() => null, (error) => error.message)`)
            if (failure) throw new Error(failure)
        })
    }
    console.log(`${cases.length} logins`)
} finally {
    await browser.close()
    servers.forEach((server) => server.close())
}
