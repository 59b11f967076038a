// One client: its session, its subscriptions, what it does now, and what may be done to it.

import { change, get, lines } from './api.js'
import { stateBadge } from './clients.js'
import { card, confirm, el, setText, table, wide } from './dom.js'
import { bytes, count, milliseconds, span } from './format.js'
import { listen } from './live.js'

export const title = (id) => `Client ${id}`

/** Subscriptions that are shown at first, and lines of a trace that are kept. */
const [FILTERS_SHOWN, TRACE_MAX] = [50, 300]

const EVER = 4294967295

const FACTS = [
    ['State', (it) => stateBadge(it)],
    ['User', (it) => it.user ?? 'none'],
    ['Address', (it) => it.address ?? '–'],
    ['Listener', (it) => it.listener || '–'],
    ['MQTT', (it) => it.version ?? '–'],
    ['Worker', (it) => String(it.worker)],
    ['Keep-alive', (it) => it.keep_alive_s === null ? '–'
        : it.keep_alive_s === 0 ? 'none' : span(it.keep_alive_s)],
    ['Silent for', (it) => it.silent_s === null ? '–' : span(it.silent_s)],
    ['Session ends', (it) => it.session_expiry_s === 0 ? 'with the connection'
        : it.session_expiry_s === EVER ? 'never' : `${span(it.session_expiry_s)} after it`],
    ['Subscriptions', (it) => count(it.subscriptions)],
    ['Messages waiting', (it) => `${count(it.queued_messages)} (${bytes(it.queued_bytes)})`],
    ['In flight', (it) => count(it.inflight_messages)],
    ['Oldest of these', (it) => it.oldest_s === null ? '–' : span(it.oldest_s)],
    ['Acknowledges in', (it) => it.ack_mean_ms === null ? '–'
        : `${milliseconds(it.ack_mean_ms)}, at most ${milliseconds(it.ack_max_ms)}`],
    ['Connected for', (it) => it.connected_s === null ? '–' : span(it.connected_s)],
    ['Packets from it', (it) => it.packets_received === null ? '–' : count(it.packets_received)],
    ['Messages to it', (it) => it.messages_sent === null ? '–' : count(it.messages_sent)],
    ['Did not reach it', (it) => it.dropped_messages === 0 ? '0' : Object.entries(it.drops)
        .map(([reason, number]) => `${count(number)} ${reason.replaceAll('_', ' ')}`).join(', ')],
    ['Last went', (it) => it.departed?.replaceAll('_', ' ') ?? '–'],
]

/** What the kernel knows of the connection. */
const TCP = [
    ['There and back', (it) => milliseconds(it.round_trip_ms)],
    ['Bytes from it', (it) => bytes(it.received_bytes)],
    ['Bytes that it has', (it) => bytes(it.acknowledged_bytes)],
    ['Not sent yet', (it) => bytes(it.unsent_bytes)],
    ['Segments sent again', (it) => count(it.resent_segments)],
]

/** A list of facts, and what fills it. */
function factList(facts) {
    const values = facts.map(() => el('dd'))
    const element = el('dl', { class: 'facts' },
        ...facts.flatMap(([name], place) => [el('dt', {}, name), values[place]]))
    const fill = (of) => facts.forEach(([, read], place) => {
        const value = read(of)
        if (typeof value === 'string') setText(values[place], value)
        else values[place].replaceChildren(value)
    })
    return { element, fill }
}

/** Messages on their way. */
function waiting(heading, none) {
    const columns = [
        { title: 'Topic', cell: (row) => el('code', {}, row.topic ?? '(PUBREL)') },
        { title: 'Size', class: 'number', cell: (row) => bytes(row.bytes) },
        { title: 'QoS', class: 'number', cell: (row) => String(row.qos) },
        { title: 'Age', class: 'number', cell: (row) => span(row.age_s) },
    ]
    const { element, fill } = table(heading, columns)
    const empty = el('p', { class: 'empty' }, none)
    return {
        element: card(heading, {}, wide(heading, element), empty),
        fill: (rows) => {
            fill(rows)
            element.hidden = rows.length === 0
            empty.hidden = rows.length > 0
        },
    }
}

export function render(main, signal, id) {
    const error = el('p', { class: 'error', role: 'alert', hidden: true })
    const [facts, tcp, filters] = [factList(FACTS), factList(TCP), subscriptions()]
    const queued = waiting('Waiting', 'Nothing waits for this client.')
    const inflight = waiting('In flight', 'Nothing is in flight to this client.')
    const connection = card('Connection', {}, tcp.element)
    const body = el('div', { class: 'grid', hidden: true }, card('Session', {}, facts.element),
        connection, filters.element, queued.element, inflight.element,
        actions(id, signal, () => ask()), trace(id, signal))
    main.append(
        el('p', {}, el('a', { href: '#/clients' }, '← All clients')),
        el('h1', { class: 'mono' }, id || '(empty identifier)'), error, body)
    let isAsking = false
    const ask = async () => {
        if (isAsking) return
        isAsking = true
        try {
            const found = await get('api/v1/client', { id }, signal)
            facts.fill(found.client)
            connection.hidden = found.tcp === null
            if (found.tcp) tcp.fill(found.tcp)
            filters.fill(found.filters, found.client.subscriptions)
            queued.fill(found.queued)
            inflight.fill(found.inflight)
            body.hidden = false
            error.hidden = true
        } catch (refused) {
            if (refused.name === 'AbortError') return
            error.hidden = false
            setText(error, refused.status === 404 ? 'No client has this identifier any more.'
                : refused.message)
        } finally {
            isAsking = false
        }
    }
    // Asks as often as live figures come.
    listen(ask, signal)
}

function subscriptions() {
    const columns = [
        { title: 'Filter', cell: (row) => el('code', {}, row.filter) },
        { title: 'QoS', class: 'number', cell: (row) => String(row.qos) },
    ]
    const { element, fill } = table('Subscriptions', columns)
    const none = el('p', { class: 'empty' }, 'This client has not subscribed to anything.')
    const more = el('button', { type: 'button', class: 'quiet bottom', hidden: true }, 'Show all')
    const cut = el('p', { class: 'muted', hidden: true })
    let shown = FILTERS_SHOWN
    let known = ''
    const update = (filters, total) => {
        const now = JSON.stringify([filters, shown])
        if (now === known) return
        known = now
        fill(filters.slice(0, shown))
        element.hidden = filters.length === 0
        none.hidden = filters.length > 0
        more.hidden = filters.length <= shown
        cut.hidden = filters.length >= total
        setText(cut, `The broker names ${count(filters.length)} of ${count(total)}.`)
        more.onclick = () => {
            shown = Infinity
            update(filters, total)
        }
    }
    return {
        element: card('Subscriptions', {}, wide('Subscriptions', element), none, more, cut),
        fill: update,
    }
}

function actions(id, signal, ask) {
    const result = el('p', { role: 'status' })
    const act = (label, question, text, method, path) => el('button', {
        type: 'button', class: 'danger',
        onclick: async () => {
            if (!await confirm(question, text, label)) return
            try {
                await change(method, path, { id })
                result.className = 'done'
                setText(result, `${label}: done.`)
            } catch (error) {
                result.className = 'error'
                setText(result, error.message)
            }
            if (!signal.aborted) ask()
        },
    }, label)
    return card('Actions', {}, el('div', { class: 'row' },
        act('Disconnect', 'Disconnect this client?', 'The client may come back at once.',
            'POST', 'api/v1/client/disconnect'),
        act('Cut the queue', 'Drop what waits for this client?',
            'All messages that wait for it are lost. Its subscriptions stay.',
            'DELETE', 'api/v1/client/queue'),
        act('Delete the session', 'Delete this session?',
            'Its subscriptions and all messages that wait for it are lost.',
            'DELETE', 'api/v1/client/session')), result)
}

/** A packet of the trace in words; nothing for a sign that it goes on. */
function said(line) {
    const packet = JSON.parse(line)
    if (packet.left_out !== undefined) {
        return packet.left_out > 0 ? `(${count(packet.left_out)} packets left out)` : ''
    }
    const time = new Date(packet.at_s * 1000).toISOString().slice(11, -1)
    const numbers = ['packet_id', 'qos', 'alias', 'bytes', 'payload_bytes']
    const flags = ['dup', 'retain']
    return [time, packet.direction, packet.type, ...packet.topics,
        ...numbers.filter((name) => typeof packet[name] === 'number')
            .map((name) => `${name}=${packet[name]}`),
        ...flags.filter((name) => packet[name]),
        ...packet.reason_codes.map((code) => `0x${code.toString(16).padStart(2, '0')}`),
        ...packet.delay_ms === null ? [] : [`delay=${milliseconds(packet.delay_ms)}`],
    ].join(' ')
}

/** What the client says and is told, as it happens. */
function trace(id, signal) {
    const status = el('p', { class: 'muted', role: 'status' },
        'Shows this client’s packets as they come and go, from the moment it is started.')
    const list = el('ol',
        { class: 'stream mono', hidden: true, tabindex: 0, 'aria-label': 'Trace' })
    const button = el('button', { type: 'button' }, 'Start the trace')
    let running = null
    const stop = (words) => {
        running?.abort()
        running = null
        setText(button, 'Start the trace')
        setText(status, words)
    }
    const add = (line) => {
        const words = line && said(line)
        if (!words) return
        const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
        list.append(el('li', {}, words))
        while (list.childElementCount > TRACE_MAX) list.firstElementChild.remove()
        if (isAtEnd) list.scrollTop = list.scrollHeight
    }
    button.addEventListener('click', async () => {
        if (running) return stop('Stopped.')
        const mine = running = new AbortController()
        setText(button, 'Stop the trace')
        try {
            await lines('api/v1/trace', { client: id }, mine.signal, add, () => {
                list.hidden = false
                setText(status, `Runs; the last ${TRACE_MAX} lines are kept.`)
            })
            if (running === mine) stop('The broker has ended the trace.')
        } catch (error) {
            if (running !== mine) return
            stop(error.status === undefined ? 'The trace broke off.' : error.message)
        }
    })
    signal.addEventListener('abort', () => running?.abort())
    return card('Live trace', {}, status, el('div', { class: 'row' }, button), list)
}
