// A client of the broker's own in this page: MQTT over WebSocket.

import { card, el, field, select, setText } from './dom.js'
import { clock } from './format.js'
import { latest, listen } from './live.js'

export const title = () => 'Console'

/** Messages that are kept, and characters that are shown of one. */
const [KEPT_MAX, SHOWN_CHARS] = [500, 2000]

/** The addresses of the broker's WebSocket listeners, as this page reaches them. */
function addresses(figures) {
    return figures.websockets.map(({ scheme, host, port, path }) =>
        `${scheme}://${host ?? location.hostname}:${port}${path}`)
}

export function render(main, signal) {
    const none = el('p', { class: 'error', hidden: true }, 'The broker has no listener for ',
        'WebSockets. Start it with --listen ws://127.0.0.1:8083/mqtt to use the console.')
    const address = select([])
    const user = el('input', { autocomplete: 'off', spellcheck: 'false' })
    const password = el('input', { type: 'password', autocomplete: 'off' })
    const connect = el('button', {}, 'Connect')
    const status = el('p', { class: 'muted', role: 'status' }, 'Not connected.')
    const form = el('form', { class: 'form' },
        field('Listener', address, { class: 'field all' }), field('User', user),
        field('Password', password), connect)
    const list = messages()
    let client = null

    const parts = [subscribe(() => client, list), send(() => client)]
    const set = (isOpen, words, isBad) => {
        setText(connect, client ? 'Disconnect' : 'Connect')
        setText(status, words)
        status.className = isBad ? 'error' : 'muted'
        parts.forEach((part) => part.enable(isOpen))
    }
    const close = (words, isBad) => {
        client?.end(true)
        client = null
        set(false, words, isBad)
    }
    form.addEventListener('submit', async (event) => {
        event.preventDefault()
        if (client) return close('Not connected.')
        setText(status, 'Connecting…')
        const { default: mqtt } = await import('./mqtt.esm.js')
        if (signal.aborted) return
        const options = {
            protocolVersion: 5, clean: true, reconnectPeriod: 0, connectTimeout: 8000,
            // A timer in a worker of its own would be a script from elsewhere.
            timerVariant: 'native', clientId: `dashboard-${crypto.randomUUID().slice(0, 8)}`,
        }
        if (user.value) Object.assign(options, { username: user.value, password: password.value })
        let mine
        try {
            mine = client = mqtt.connect(address.value, options)
        } catch (error) {
            return close(`No connection: ${error.message}`, true)
        }
        set(false, 'Connecting…')
        mine.on('connect', () => set(true, `Connected as ${options.clientId}.`))
        const fail = (words) => client === mine && close(words, true)
        mine.on('error', (error) => fail(`No connection: ${error.message}`))
        mine.on('close', () => fail('The broker has ended the connection, or cannot be reached.'))
        mine.on('message', (topic, payload, packet) => list.add(topic, payload, packet))
    })
    signal.addEventListener('abort', () => client?.end(true))
    main.append(el('h1', {}, 'Console'), none, el('div', { class: 'grid three' },
        card('Connection', {}, form, status), parts[0].element, parts[1].element, list.element))
    fillAddresses(signal, address, none, connect)
    set(false, 'Not connected.')
}

/** Offers the listeners as soon as they are known. */
function fillAddresses(signal, address, none, connect) {
    let known = ''
    listen(() => {
        const figures = latest()
        const all = figures ? addresses(figures) : []
        none.hidden = !figures || all.length > 0
        connect.disabled = all.length === 0
        if (all.join() === known) return
        known = all.join()
        address.replaceChildren(...all.map((one) => el('option', { value: one }, one)))
    }, signal)
}

const QOS = [['0', '0'], ['1', '1'], ['2', '2']]

function subscribe(client, list) {
    const filter = el('input', { value: '#', required: true, spellcheck: 'false' })
    const qos = select(QOS)
    const button = el('button', {}, 'Subscribe')
    const status = el('p', { role: 'status' })
    const held = el('ul', { class: 'row tree', 'aria-label': 'Subscriptions' })
    const form = el('form', { class: 'form' }, field('Filter', filter), field('QoS', qos), button)
    const drop = (name, row) => el('button', {
        type: 'button', class: 'quiet', 'aria-label': `End the subscription ${name}`,
        onclick: () => client()?.unsubscribe(name, () => row.remove()),
    }, `${name} ✕`)
    form.addEventListener('submit', async (event) => {
        event.preventDefault()
        const name = filter.value
        client()?.subscribe(name, { qos: Number(qos.value) }, (error, granted) => {
            const isRefused = error || granted?.some((one) => one.qos >= 128)
            status.className = isRefused ? 'error' : 'muted'
            setText(status, isRefused ? `Refused: ${error?.message ?? 'not allowed'}`
                : `Subscribed to ${name}.`)
            if (isRefused || [...held.children].some((row) => row.dataset.filter === name)) return
            const row = el('li', { 'data-filter': name })
            row.append(drop(name, row))
            held.append(row)
            list.wait()
        })
    })
    return {
        element: card('Subscribe', {}, form, status, held),
        enable(isOpen) {
            button.disabled = !isOpen
            if (isOpen) return
            held.replaceChildren()
            setText(status, '')
            status.className = ''
        },
    }
}

function send(client) {
    const topic = el('input', { required: true, spellcheck: 'false', autocapitalize: 'off' })
    const payload = el('textarea', { spellcheck: 'false' })
    const qos = select(QOS)
    const retain = el('input', { type: 'checkbox' })
    const button = el('button', {}, 'Publish')
    const status = el('p', { role: 'status' })
    const form = el('form', { class: 'form' }, field('Topic', topic), field('QoS', qos),
        field('Payload', payload, { class: 'field all' }),
        el('label', { class: 'check' }, retain, 'Retain'), button)
    form.addEventListener('submit', (event) => {
        event.preventDefault()
        const options = { qos: Number(qos.value), retain: retain.checked }
        client()?.publish(topic.value, payload.value, options, (error, packet) => {
            const isNobody = packet?.reasonCode === 16
            status.className = error ? 'error' : 'muted'
            setText(status, error ? `Refused: ${error.message}`
                : isNobody ? 'Published; no client has subscribed to it.' : 'Published.')
        })
    })
    return {
        element: card('Publish', {}, form, status),
        enable(isOpen) {
            button.disabled = !isOpen
        },
    }
}

/** The newest messages; more come in than are shown, so they are drawn once a frame. */
function messages() {
    const list = el('ol', { class: 'stream', tabindex: 0, 'aria-label': 'Messages', hidden: true })
    const status = el('p', { class: 'muted' }, 'Messages of the subscriptions appear here.')
    const clear = el('button', { type: 'button', class: 'quiet' }, 'Clear')
    const pause = el('button', { type: 'button', class: 'quiet', 'aria-pressed': 'false' }, 'Pause')
    let [waiting, total, isDrawing, isPaused] = [[], 0, false, false]
    const text = (payload) => {
        const whole = new TextDecoder().decode(payload.subarray(0, SHOWN_CHARS))
        return payload.length > SHOWN_CHARS ? `${whole}… (${payload.length} bytes)` : whole
    }
    const draw = () => {
        isDrawing = false
        if (isPaused) return
        const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
        list.hidden = false
        list.append(...waiting.map(({ at, topic, payload, packet }) => el('li', {},
            el('span', { class: 'muted' }, `${clock(at)} `),
            el('span', { class: 'topic' }, topic),
            el('span', { class: 'muted' },
                ` QoS ${packet.qos}${packet.retain ? ', retained' : ''} `),
            el('span', { class: 'mono' }, text(payload)))))
        waiting = []
        while (list.childElementCount > KEPT_MAX) list.firstElementChild.remove()
        if (isAtEnd) list.scrollTop = list.scrollHeight
        setText(status, `${total} messages came; the last ${KEPT_MAX} are kept.`)
    }
    const ask = () => {
        if (!isDrawing) requestAnimationFrame(draw)
        isDrawing = true
    }
    clear.addEventListener('click', () => {
        list.replaceChildren()
        waiting = []
        total = 0
        setText(status, 'Cleared.')
    })
    pause.addEventListener('click', () => {
        isPaused = !isPaused
        pause.setAttribute('aria-pressed', String(isPaused))
        if (!isPaused) ask()
    })
    return {
        element: card('Messages', { class: 'all' },
            el('div', { class: 'row' }, status, pause, clear), list),
        wait: () => {
            if (total === 0) setText(status, 'Waiting for messages…')
        },
        add(topic, payload, packet) {
            total += 1
            waiting.push({ at: new Date(), topic, payload, packet })
            if (waiting.length > KEPT_MAX) waiting.shift()
            ask()
        },
    }
}
