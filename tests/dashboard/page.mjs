// A page of the dashboard in Chromium, and what must never happen in it.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

export const require = createRequire(process.env.MODULES + '/')
const puppeteer = require('puppeteer-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

export function launch(profile) {
    return puppeteer.launch({
        // By a pipe: the browser ends with this process, however that ends.
        executablePath: '/usr/bin/chromium', userDataDir: profile, headless: true, pipe: true,
        args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
            '--disable-background-networking', '--disable-component-update', '--disable-sync',
            '--disable-dev-shm-usage'],
    })
}

/** Answers that are refused without a token, or for a client that is gone. */
const MAY_BE_REFUSED = /\/api\/v1\/(retained\/message|client[/?])/

/** Opens a page that notes every error, and every breach of its policy. */
export async function open(browser, address) {
    const page = await browser.newPage()
    const wrong = []
    page.on('pageerror', (error) => wrong.push(`error: ${error.message}`))
    page.on('dialog', (dialog) => wrong.push(`dialog: ${dialog.message()}`))
    page.on('console', (message) => {
        const isRefusal = message.text().startsWith('Failed to load resource')
            && (MAY_BE_REFUSED.test(message.location().url ?? '') || /\b401\b/.test(message.text()))
        if (['error', 'warn'].includes(message.type()) && !isRefusal) wrong.push(message.text())
    })
    page.on('request', (request) => {
        const { protocol, host } = new URL(request.url())
        const isOurs = protocol === 'data:' || host === address || protocol.startsWith('ws')
        if (!isOurs) wrong.push(`request to ${request.url()}`)
    })
    await page.exposeFunction('noteViolation', (text) => wrong.push(`policy: ${text}`))
    await page.evaluateOnNewDocument(() => document.addEventListener('securitypolicyviolation',
        (event) => window.noteViolation(`${event.violatedDirective} ${event.blockedURI}`)))
    return { page, wrong }
}

/** Waits until `read` gives what is true, and returns it. */
export async function until(what, read) {
    const end = Date.now() + 30000
    for (;;) {
        const value = await read()
        if (value) return value
        if (Date.now() > end) throw new Error(`${what}: not so after 30 s`)
        await new Promise((resolve) => setTimeout(resolve, 50))
    }
}

/** The texts of all elements that a selector finds. */
export const texts = (page, selector) =>
    page.$$eval(selector, (all) => all.map((element) => element.textContent))

export const visible = (page, selector) => until(`${selector} is there`, () => page.evaluate(
    (selector) => document.querySelector(selector)?.getClientRects().length > 0, selector))

export async function go(page, hash) {
    await page.evaluate((hash) => { location.hash = hash }, hash)
    await until(`a heading at ${hash}`, () => page.$('main h1'))
}

/** Nothing sticks out sideways, and axe finds nothing that keeps people out. */
export async function judge(page, where) {
    const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    assert.ok(excess <= 0, `${where} is ${excess} pixels too wide`)
    if (!await page.evaluate('typeof axe === "object"')) await page.evaluate(axe)
    const found = await page.evaluate(async () => {
        const { violations } = await window.axe.run(document)
        return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
            .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`)
    })
    assert.deepEqual(found, [], where)
}
