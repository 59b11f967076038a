// The list of clients: found by the beginning of their identifier, sorted, a page at a time.

import { get } from './api.js'
import { card, el, field, select, table, wide } from './dom.js'
import { bytes, count, span } from './format.js'

export const title = () => 'Clients'

const LIMIT = 50

/** The columns by which the broker sorts, greatest first. */
const SORTED = {
    client_id: 'Client', subscriptions: 'Subscriptions', queued_messages: 'Waiting',
    queued_bytes: 'Size', inflight_messages: 'In flight', silent: 'Silent for',
}

/** What was asked last, so that the way back from a client leads to the same page. */
const asked = { prefix: '', user: '', connected: '', sort: 'client_id', cursors: [''] }

export const clientLink = (id) => el('a', { href: `#/client/${encodeURIComponent(id)}` },
    id || '(empty identifier)')

export function stateBadge(client) {
    if (!client.connected) return el('span', { class: 'badge' }, 'away')
    if (client.blocked) return el('span', { class: 'badge danger' }, 'blocked')
    return el('span', { class: 'badge ok' }, 'connected')
}

export function render(main, signal) {
    const prefix = el('input', { type: 'search', value: asked.prefix, spellcheck: 'false' })
    const user = el('input', { type: 'search', value: asked.user, spellcheck: 'false' })
    const connected = select([['', 'All'], ['true', 'Connected'], ['false', 'Away']])
    const sort = select(Object.entries(SORTED))
    connected.value = asked.connected
    sort.value = asked.sort
    const form = el('form', { class: 'form', role: 'search', 'aria-label': 'Clients' },
        field('Begins with', prefix), field('User', user), field('State', connected),
        field('Sorted by', sort))
    const list = el('div')
    const status = el('p', { class: 'muted', role: 'status' })
    const [before, next] = ['Previous page', 'Next page'].map((text) =>
        el('button', { type: 'button', class: 'quiet', disabled: true }, text))
    const again = el('button', { type: 'button', class: 'quiet' }, 'Look again')
    const turn = el('div', { class: 'row bottom' }, before, next, again)
    main.append(el('h1', {}, 'Clients'), card('Search', {}, form),
        card('Found', { class: 'bottom' }, status, list, turn))
    let request = null
    let following = null

    const ask = async () => {
        request?.abort()
        request = new AbortController()
        const mine = request
        try {
            const { cursors, ...query } = asked
            const cursor = cursors.at(-1)
            const found = await get('api/v1/clients', { ...query, limit: LIMIT, cursor },
                mine.signal)
            show(found)
        } catch (error) {
            if (error.name !== 'AbortError') fail(error)
        }
    }
    const fail = (error) => {
        status.textContent = ''
        list.replaceChildren(el('p', { class: 'error', role: 'alert' }, error.message))
    }
    const show = ({ clients, next: cursor }) => {
        following = cursor
        const page = asked.cursors.length
        const of = clients.length === 1 ? '1 client' : `${count(clients.length)} clients`
        status.textContent = clients.length ? `Page ${page}: ${of}${cursor ? ', and more' : ''}`
            : asked.prefix || asked.user || asked.connected ? 'No client matches.'
                : 'No client has a session.'
        before.disabled = page === 1
        next.disabled = !cursor
        list.replaceChildren(...(clients.length ? [clientTable(clients)] : []))
    }
    const clientTable = (clients) => {
        const { element, fill } = table('Clients', columns(sortBy))
        fill(clients)
        return wide('Clients', element)
    }
    const sortBy = (column) => {
        sort.value = column
        change()
        list.querySelector(`[data-sort=${column}]`)?.focus()
    }
    const change = () => {
        Object.assign(asked, {
            prefix: prefix.value, user: user.value, connected: connected.value, sort: sort.value,
            cursors: [''],
        })
        ask()
    }
    let typing = 0
    form.addEventListener('input', (event) => {
        clearTimeout(typing)
        typing = setTimeout(change, event.target.type === 'search' ? 250 : 0)
    })
    form.addEventListener('submit', (event) => event.preventDefault())
    before.addEventListener('click', () => {
        asked.cursors.pop()
        ask()
    })
    next.addEventListener('click', () => {
        asked.cursors.push(following)
        ask()
    })
    again.addEventListener('click', ask)
    signal.addEventListener('abort', () => {
        clearTimeout(typing)
        request?.abort()
    })
    ask()
}

function columns(sortBy) {
    const head = (column) => el('button', {
        type: 'button', 'data-sort': column, onclick: () => sortBy(column),
        title: column === 'client_id' ? 'Sort by name' : 'Sort, greatest first',
    }, SORTED[column])
    const sorted = (column) => asked.sort !== column ? undefined
        : column === 'client_id' ? 'ascending' : 'descending'
    const by = (column, cell, more) =>
        ({ title: head(column), sorted: sorted(column), cell, ...more })
    const number = { class: 'number' }
    const aside = { class: 'number aside' }
    return [
        by('client_id', (row) => clientLink(row.client_id)),
        { title: 'State', cell: stateBadge },
        { title: 'User', class: 'aside', cell: (row) => row.user ?? '–' },
        { title: 'Address', class: 'aside short', cell: (row) => row.address ?? '–' },
        { title: 'MQTT', class: 'aside', cell: (row) => row.version ?? '–' },
        { title: 'Worker', ...aside, cell: (row) => String(row.worker) },
        by('subscriptions', (row) => count(row.subscriptions), aside),
        by('queued_messages', (row) => count(row.queued_messages), number),
        by('queued_bytes', (row) => bytes(row.queued_bytes), aside),
        by('inflight_messages', (row) => count(row.inflight_messages), aside),
        by('silent', (row) => row.silent_s === null ? '–' : span(row.silent_s), aside),
    ]
}
