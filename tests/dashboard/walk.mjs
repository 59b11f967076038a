// A walk through the dashboard: walk.mjs ADDRESS PROFILE PID TOKEN. ADDRESS is that of the API of
// the broker PID, which tests/dashboard.rs has filled, and TOKEN its token; PROFILE is an empty
// folder for the browser.
import assert from 'node:assert/strict'
import { go, judge, launch, open, require, texts, until, visible } from './page.mjs'

const [address, profile, pid, right] = process.argv.slice(2)
const ODD = '<img src=x onerror=alert(1)>/%2F &amp; ü'

async function api(path) {
    const answer = await fetch(`http://${address}/api/v1/${path}`)
    return answer.ok ? answer.json() : null
}

const figure = (page, name) =>
    page.$eval(`[data-figure=${name}]`, (element) => element.textContent)

async function overview(page) {
    await visible(page, '[data-figure=clients]')
    const metrics = await api('metrics')
    const expected = {
        clients: metrics.clients_connected, subscriptions: metrics.subscriptions,
        queued: metrics.queued_messages, inflight: metrics.inflight_messages,
        retained: metrics.retained_messages,
    }
    for (const [name, value] of Object.entries(expected)) {
        await until(`${name} is ${value}`, async () => await figure(page, name) === String(value))
    }
    assert.equal(await figure(page, 'journal'), 'none: state is in memory')
    const dropped = await texts(page, '[data-table=drops] tbody tr td:last-child')
    assert.deepEqual(dropped, Object.values(metrics.messages_dropped).map(String))
    assert.equal(metrics.messages_dropped.queue_full, 1)
    const copies = async () => {
        const durations = await api('durations')
        const counts = Object.values(durations.delivery).map((of) => (of['1min'] ?? of.all).count)
        const shown = await texts(page, '[data-table=latency] tbody td:nth-child(2)')
        return shown.join() === counts.join()
    }
    await until('deliveries are those of the answer', copies)
    assert.equal((await page.$$('[data-table=workers] tbody tr')).length, metrics.workers)
    assert.equal((await page.$$('.uplot')).length, 4)
    await until('nothing holds things up', async () =>
        (await texts(page, '.verdicts li')).join() === 'Nothing holds things up.')
}

/** The words about figures that a test cannot bring about. */
async function verdicts(page) {
    const worker = { load: 0.1, core_busy: 0.2 }
    const calm = {
        journal: 'works', slow: [], rates: { messages_dropped: { queue_full: 0, denied: 0 } },
        metrics: { memory_used: 1, memory_limit: 10 },
        workers: [{ ...worker, worker: 0, core: 3 }, { ...worker, worker: 1, core: null }],
    }
    const cases = [
        [{}, 'Nothing holds things up.'],
        [{ workers: [{ worker: 0, core: 3, load: 0.97, core_busy: 1 }, calm.workers[1]] },
            'Worker 0 on core 3 is full: 97 % of the time goes into turns.'],
        [{ workers: [{ worker: 0, core: 3, load: 0.25, core_busy: 0.99 }] },
            'Core 3 is full, and its worker has only 25 %: '
                + 'the rest goes to the kernel or to others.'],
        [{ workers: [{ worker: 1, core: null, load: null, core_busy: null }] },
            'Worker 1 on any core does not answer.'],
        [{ slow: [{ client_id: 'a/<b>', queued_messages: 1000, blocked: true }] },
            'a/<b> holds things up: 1,000 messages wait for it, and its socket takes no more.'],
        [{ rates: { messages_dropped: { queue_full: 1, denied: 2 } } },
            '3 messages a second are dropped, most of them: not allowed.'],
        [{ metrics: { memory_used: 9, memory_limit: 10 } },
            '90 % of the memory that the broker may take is in use.'],
        [{ journal: 'failing' }, 'The journal cannot be written: changes are not acknowledged.'],
    ]
    for (const [change, expected] of cases) {
        const said = await page.evaluate(async (figures) => {
            const { findings } = await import('/dashboard/overview.js')
            return findings(figures).map(([, , nodes]) =>
                nodes.map((node) => node.textContent ?? node).join('')).join(' ')
        }, { ...calm, ...change })
        assert.equal(said.replaceAll('\u00a0', ' '), expected)
    }
}

const names = (page) => texts(page, 'main tbody th')

async function clients(page) {
    await go(page, '#/clients')
    const sorted = 'clients?limit=50&sort=client_id'
    const first = await api(sorted)
    const ids = (answer) => answer.clients.map((client) => client.client_id)
    const shows = (what, expected) => until(what, async () =>
        (await names(page)).join('|') === expected.join('|'))
    await shows('the first page', ids(first))
    const press = (text) => page.locator(`::-p-xpath(//button[text()="${text}"])`).click()
    await press('Next page')
    const second = await api(`${sorted}&cursor=${encodeURIComponent(first.next)}`)
    await shows('the second page', ids(second))
    await press('Previous page')
    await shows('the first page again', ids(first))
    await page.click('[data-sort=queued_messages]')
    await shows('the sorted page', ids(await api('clients?limit=50&sort=queued_messages')))
    assert.equal((await names(page))[0], 'away')
    assert.equal(await page.$eval('th[aria-sort=descending]', (th) => th.textContent), 'Waiting')
    await page.type('input[type=search]', 'client-11')
    await shows('those that are searched for',
        ids(await api('clients?sort=queued_messages&prefix=client-11')))
    await page.type('input[type=search]', 'x')
    await until('nothing is found', async () =>
        (await texts(page, 'main [role=status]')).includes('No client matches.'))
}

async function client(page) {
    await go(page, '#/clients')
    await page.$eval('input[type=search]', (input) => {
        input.value = '<img'
        input.dispatchEvent(new Event('input', { bubbles: true }))
    })
    await until('the odd client', async () => (await names(page)).join() === ODD)
    await page.click('main tbody a')
    await visible(page, '.facts')
    assert.equal(await page.$eval('h1', (h1) => h1.textContent), ODD)
    assert.deepEqual(await texts(page, 'main code'), ['t/<b>/#'])
    assert.equal((await page.$$('main img, main b')).length, 0)
    const { client: found } = await api(`client?id=${encodeURIComponent(ODD)}`)
    const facts = await texts(page, '.facts dd')
    assert.ok(facts.includes(found.address) && facts.includes(found.listener), facts.join())
    // A change without a token is refused in words.
    await page.click('button.danger')
    await page.click('dialog[open] button.danger')
    await until('words about the change', () => page.$('p.error[role=status]'))
    await go(page, '#/client/nobody')
    await until('words about no client', async () =>
        (await texts(page, '[role=alert]')).includes('No client has this identifier any more.'))
}

async function topics(page) {
    await go(page, '#/topics')
    await page.type('input[placeholder]', 't/1\n')
    const { subscribers } = await api('subscribers?topic=t/1')
    const expected = subscribers.map(({ client_id: id, filter, qos }) => id + filter + qos)
    assert.equal(expected.length, 2)
    await until('those who get the topic', async () =>
        (await texts(page, 'main tbody tr')).join() === expected.join())
    const tree = await api('retained')
    await until('the first level', async () =>
        (await page.$$('.tree > li')).length === tree.levels.length)
}

/** What is published, deleted and ended from here, with the token. */
async function orders(page) {
    const press = (text) => page.evaluate((text) => {
        const all = [...document.querySelectorAll('main button, dialog[open] button')]
        all.findLast((button) => button.textContent === text).click()
    }, text)
    const reads = (selector, text) => until(text, async () =>
        (await texts(page, selector)).some((words) => words.includes(text)))
    await page.goto(`http://${address}/#token=${right}`)
    await page.reload()
    await go(page, '#/topics')
    await page.evaluate(() => {
        const form = [...document.querySelectorAll('main form')].at(-1)
        form.querySelector('input').value = 'orders/one'
        form.querySelector('textarea').value = 'from <b>here</b>'
        form.querySelector('input[type=checkbox]').checked = true
        form.requestSubmit()
    })
    await reads('[role=status]', 'Published; nobody has subscribed to it.')
    await until('it is retained', () => api('retained/message?topic=orders/one'))
    await press('Look again')
    await reads('.tree button', 'orders')
    await press('orders')
    await reads('.tree button', 'one')
    await press('one')
    await reads('pre.payload', 'from <b>here</b>')
    await press('Delete')
    await press('Delete')
    await reads('[role=status]', 'Deleted.')
    await until('it is gone', async () => !await api('retained/message?topic=orders/one'))
    await go(page, '#/client/client-119')
    await press('Start the trace')
    await reads('[role=status]', 'Runs')
    await page.click('button.danger')
    await page.click('dialog[open] button.danger')
    await reads('.stream li', 'DISCONNECT')
    await until('the client is gone', async () => !await api('client?id=client-119'))
    await page.evaluate(() => sessionStorage.clear())
    await page.reload()
}

async function console_(page) {
    const mqtt = require('mqtt')
    await go(page, '#/console')
    await until('a listener', () => page.$('select option[value^=ws]'))
    const url = await page.$eval('select', (select) => select.value)
    const submit = (place) => page.evaluate((place) =>
        document.querySelectorAll('main form')[place].requestSubmit(), place)
    const says = (text) => until(text, async () =>
        (await texts(page, 'main [role=status]')).some((words) => words.includes(text)))
    await submit(0)
    await says('Connected as dashboard-')
    await page.$$eval('main form', ([, form]) => { form.querySelector('input').value = 'con/#' })
    await submit(1)
    await says('Subscribed to con/#.')
    await page.$$eval('main form', ([, , form]) => {
        form.querySelector('input').value = 'con/1'
        form.querySelector('textarea').value = '<b>bold</b>'
    })
    await submit(2)
    const lines = () => texts(page, '.stream li')
    await until('the message', async () => (await lines()).join().includes('<b>bold</b>'))
    const author = await mqtt.connectAsync(url, { protocolVersion: 5 })
    for (let number = 0; number < 600; number += 1) {
        await author.publishAsync(`con/${number}`, 'more')
    }
    await author.endAsync()
    await until('the newest', async () => (await lines()).at(-1).includes('con/599'))
    assert.equal((await lines()).length, 500)
    await submit(0)
    await says('Not connected.')
}

async function log(page) {
    await go(page, '#/log')
    const lines = () => texts(page, '.stream li')
    await until('lines of the log', async () => (await lines()).join().includes('as client-119'))
    await page.type('main input[type=search]', 'onerror')
    await until('one line', async () => (await lines()).length >= 1
        && (await lines()).every((line) => line.includes('onerror')))
    assert.equal((await page.$$('main img')).length, 0)
    await page.select('main select', '0')
    await until('no line', async () => (await lines()).length === 0)
}

/** With the keyboard alone: to the content, along the pages, to the theme. */
async function keyboard(page) {
    await page.goto(`http://${address}/`)
    await visible(page, '[data-figure=clients]')
    const focused = () => page.evaluate(() => {
        const { id, className, textContent } = document.activeElement
        return id || className || textContent
    })
    await page.keyboard.press('Tab')
    assert.equal(await focused(), 'skip')
    await page.keyboard.press('Enter')
    assert.equal(await focused(), 'main')
    await page.goto(`http://${address}/`)
    await visible(page, '[data-figure=clients]')
    const seen = []
    for (let presses = 0; presses < 9; presses += 1) {
        await page.keyboard.press('Tab')
        seen.push(await focused())
    }
    assert.deepEqual(seen.slice(1),
        ['brand', 'Overview', 'Clients', 'Topics', 'Console', 'Log', 'token-open', 'theme'])
    await page.keyboard.press('Space')
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark')
    await page.focus('nav a[href="#/clients"]')
    await page.keyboard.press('Enter')
    await until('the page of clients', async () => await focused() === 'main')
    await visible(page, '[data-sort=subscriptions]')
    await page.focus('[data-sort=subscriptions]')
    await page.keyboard.press('Enter')
    await until('sorted by the keyboard', () => page.$('th[aria-sort] [data-sort=subscriptions]'))
}

/** A token in the address is taken out of it, and sent. */
async function token(page) {
    let sent = ''
    const note = (request) => { sent = request.headers().authorization ?? sent }
    page.on('request', note)
    await page.goto(`http://${address}/#token=a-secret`)
    await page.reload()
    await until('the token is sent', () => sent === 'Bearer a-secret')
    assert.ok(!page.url().includes('secret'), page.url())
    page.off('request', note)
    await page.evaluate(() => sessionStorage.clear())
    await page.reload()
}

/** A broker that does not answer is told of, and so is that it is back. */
async function away(page) {
    await visible(page, '#link[data-state=open]')
    process.kill(Number(pid), 'SIGSTOP')
    await visible(page, '#away').finally(() => process.kill(Number(pid), 'SIGCONT'))
    await visible(page, '#link[data-state=open]')
    assert.equal(await page.$eval('#away', (element) => element.hidden), true)
}

const PAGES = ['#/', '#/clients', '#/client/client-000', '#/topics', '#/console', '#/log']
const LOOKS = [[1280, 900, 'light'], [360, 740, 'dark']]

const browser = await launch(profile)
try {
    const { page, wrong } = await open(browser, address)
    await page.setViewport({ width: 1280, height: 900 })
    await page.goto(`http://${address}/`)
    for (const step of [overview, verdicts, clients, client, topics, console_, log, orders]) {
        await step(page).catch((error) => {
            throw new Error(`${step.name}: ${error.message}; ${wrong.join('; ')}`)
        })
    }
    for (const [width, height, scheme] of LOOKS) {
        await page.setViewport({ width, height })
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
        for (const hash of PAGES) {
            await go(page, hash)
            if (hash === '#/') await visible(page, '[data-figure=clients]')
            if (hash === '#/clients') await visible(page, 'main tbody tr')
            if (hash.startsWith('#/client/')) await visible(page, '.facts')
            await judge(page, `${hash} at ${width}, ${scheme}`)
        }
    }
    await page.setViewport({ width: 1280, height: 900 })
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'light' }])
    await keyboard(page)
    await token(page)
    await away(page)
    assert.deepEqual(wrong, [])
} finally {
    await browser.close()
}
