// The overview: what holds things up, and which core is full, before everything else.

import { heatMap, percentileChart, rateChart } from './charts.js'
import { card, el, refill, setText, table, wide } from './dom.js'
import { bytes, count, milliseconds, percent, short, total } from './format.js'
import { latest, listen, samples } from './live.js'

export const title = () => 'Overview'

/** A worker above this share of its time is busy, above the other full. */
const [BUSY, FULL] = [0.7, 0.9]

const REASONS = {
    queue_full: 'queue full',
    expired: 'expired',
    too_large: 'too large for the client',
    no_member: 'no member of the group',
    denied: 'not allowed',
    memory: 'no memory',
}

export function render(main, signal) {
    const parts = [verdicts(), tiles()]
    const waiting = el('p', { class: 'empty' }, 'Waiting for the first figures…')
    const cards = [workers(), slow(), rates(signal), drops(signal), latency(signal), heat(signal),
        memory(), journal()]
    const grid = el('div', { class: 'grid' }, ...cards.map((part) => part.element))
    const figuresOf = [...parts, ...cards]
    const body = el('div', { hidden: true }, ...parts.map((part) => part.element), grid)
    main.append(el('h1', { class: 'unseen' }, 'Overview'), waiting, body)
    listen(() => {
        const [all, figures] = [samples(), latest()]
        if (!figures) return
        waiting.hidden = true
        body.hidden = false
        figuresOf.forEach((part) => part.update(figures, all))
    }, signal)
}

/** The core of a worker, in words. */
const coreOf = (worker) => worker.core === null ? 'on any core' : `on core ${worker.core}`

/** Names of clients are shortened where they stand in a sentence. */
const brief = (text) => text.length > 48 ? `${text.slice(0, 47)}…` : text || '(no identifier)'

const clientLink = (id, text) => el('a', { href: `#/client/${encodeURIComponent(id)}` }, text)

/** What there is to say of workers and cores: one sentence for all of which the same is true. */
function aboutWorkers(workers) {
    const shares = (some, read) => some.map((worker) => percent(read(worker))).join(', ')
    const kinds = [
        ['danger', (it) => it.load === null, 'does not answer', 'do not answer', () => ''],
        ['danger', (it) => it.load >= FULL, 'is full', 'are full',
            (some) => `: ${shares(some, (it) => it.load)} of the time goes into turns`],
        ['warn', (it) => it.load >= BUSY && it.load < FULL, 'is busy', 'are busy',
            (some) => `: ${shares(some, (it) => it.load)} of the time goes into turns`],
    ]
    const found = []
    for (const [level, isSo, one, many, more] of kinds) {
        const some = workers.filter(isSo)
        if (some.length === 0) continue
        const names = some.map((worker) => `${worker.worker} ${coreOf(worker)}`).join(', ')
        const words = some.length === 1 ? `Worker ${names} ${one}` : `Workers ${names} ${many}`
        found.push([level, `${words}.`, [`${words}${more(some)}.`]])
    }
    const isCrowded = (it) => it.core_busy >= FULL && it.load !== null && it.load < BUSY
    const crowded = workers.filter(isCrowded)
    if (crowded.length > 0) {
        const cores = crowded.map((worker) => worker.core).join(', ')
        const [is, its] = crowded.length === 1 ? [`Core ${cores} is full`, 'its worker has']
            : [`Cores ${cores} are full`, 'their workers have']
        const parts = shares(crowded, (worker) => worker.load)
        found.push(['warn', `${is}.`,
            [`${is}, and ${its} only ${parts}: the rest goes to the kernel or to others.`]])
    }
    return found
}

/** What there is to say, the worst first: `[class, words for the ear, nodes]`. */
export function findings(figures) {
    const found = []
    if (figures.journal === 'failing') {
        found.push(['danger', 'The journal cannot be written.',
            ['The journal cannot be written: changes are not acknowledged.']])
    }
    found.push(...aboutWorkers(figures.workers))
    const [first] = figures.slow
    if (first) {
        const name = brief(first.client_id)
        const waits = first.queued_messages > 0
            ? `${count(first.queued_messages)} messages wait for it`
            : 'the end of what was sent waits for it'
        const why = first.blocked ? ', and its socket takes no more' : ''
        found.push(['warn', `${name} holds things up.`,
            [clientLink(first.client_id, name), ` holds things up: ${waits}${why}.`]])
    }
    const dropped = total(figures.rates.messages_dropped)
    if (dropped > 0) {
        const [reason] = Object.entries(figures.rates.messages_dropped)
            .sort(([, one], [, other]) => other - one)[0]
        found.push(['warn', 'Messages are dropped.',
            [`${short(dropped)} messages a second are dropped, most of them: ${REASONS[reason]}.`]])
    }
    const { memory_used: used, memory_limit: limit } = figures.metrics
    if (limit > 0 && used / limit >= 0.8) {
        found.push(['danger', 'The memory is nearly full.',
            [`${percent(used / limit)} of the memory that the broker may take is in use.`]])
    }
    return found.length ? found
        : [['ok', 'Nothing holds things up.', ['Nothing holds things up.']]]
}

function verdicts() {
    const list = el('ul', { class: 'verdicts', 'aria-label': 'At a glance' })
    // The words for the ear have no numbers, so that they are said only when something changes.
    const spoken = el('p', { class: 'unseen', role: 'status' })
    return {
        element: el('div', {}, list, spoken),
        update(figures) {
            const found = findings(figures)
            refill(list, found.map(([level, , nodes]) => el('li', { class: level }, ...nodes)))
            setText(spoken, found.map(([, words]) => words).join(' '))
        },
    }
}

function tiles() {
    const all = [
        ['clients', 'Connected', (it) => [count(it.metrics.clients_connected), '',
            `${count(it.metrics.sessions)} sessions`]],
        ['in', 'Messages in', (it) => [short(total(it.rates.publishes_received)), '/s',
            `${bytes(it.rates.received_bytes)}/s`]],
        ['out', 'Messages out', (it) => [short(total(it.rates.publishes_sent)), '/s',
            `${bytes(it.rates.sent_bytes)}/s`]],
        ['queued', 'Waiting', (it) => [count(it.metrics.queued_messages), '',
            `longest ${count(it.metrics.queue_greatest)}`]],
        ['inflight', 'In flight', (it) => [count(it.metrics.inflight_messages), '',
            'awaiting ack']],
        ['dropped', 'Dropped', (it) => [short(total(it.rates.messages_dropped)), '/s',
            `${count(total(it.metrics.messages_dropped))} in all`,
            total(it.rates.messages_dropped) > 0]],
        ['subscriptions', 'Subscriptions', (it) => [count(it.metrics.subscriptions), '',
            `${count(it.metrics.shared_subscriptions)} shared`]],
        ['retained', 'Retained', (it) => [count(it.metrics.retained_messages), '', 'with $SYS']],
    ]
    const made = all.map(([name, label, read]) => {
        const [figure, unit, beside] = ['figure', 'unit', 'beside'].map((part) =>
            el('span', { class: part, 'data-figure': part === 'figure' ? name : null }))
        const tile = el('div', { class: 'tile' }, el('dt', {}, label),
            el('dd', {}, el('div', {}, figure, ' ', unit), beside))
        const update = (figures) => {
            const [text, of, more, isBad] = read(figures)
            setText(figure, text)
            setText(unit, of)
            setText(beside, more)
            tile.classList.toggle('danger', Boolean(isBad))
        }
        return { tile, update }
    })
    return {
        element: el('dl', { class: 'tiles' }, ...made.map(({ tile }) => tile)),
        update: (figures) => made.forEach(({ update }) => update(figures)),
    }
}

/** A bar for a share, with its words for a reader of the screen; `more` follows, paler. */
function bar(label, share, level, more = 0) {
    const piece = (width, tone) => {
        const inner = el('span', { class: tone })
        inner.style.width = `${Math.min(100, 100 * width)}%`
        return inner
    }
    return el('div', {
        class: `bar ${level}`, role: 'meter', 'aria-label': label, 'aria-valuemin': 0,
        'aria-valuemax': 100, 'aria-valuenow': Math.round(100 * share),
    }, piece(share), more > 0 ? piece(more, 'pale') : null)
}

function workers() {
    const load = (worker) => {
        if (worker.load === null) return el('span', { class: 'badge danger' }, 'does not answer')
        const level = worker.load >= FULL ? 'danger' : worker.load >= BUSY ? 'warn' : ''
        const more = Math.max(0, (worker.core_busy ?? 0) - worker.load)
        return bar(`Load of worker ${worker.worker}`, worker.load, level, more)
    }
    const rate = (value) => value === undefined ? '–' : short(value)
    const rows = table('Workers and their cores', [
        {
            title: 'Worker', class: 'short',
            cell: (it) => [`${it.worker} `, el('span', { class: 'muted' }, coreOf(it))],
        },
        { title: 'Load', class: 'load', cell: load },
        {
            title: el('span', { class: 'unseen' }, 'Load in percent'), class: 'number',
            cell: (it) => el('b', {}, it.load === null ? '–' : percent(it.load)),
        },
        {
            title: 'Core', class: 'number',
            cell: (it) => it.core_busy === null ? '–' : percent(it.core_busy),
        },
        { title: 'In/s', class: 'number aside', cell: (it) => rate(it.received_rate) },
        { title: 'Out/s', class: 'number', cell: (it) => rate(it.sent_rate) },
        { title: 'Clients', class: 'number aside', cell: (it) => count(it.clients_connected) },
    ], { 'data-table': 'workers' })
    const hint = el('p', { class: 'muted bottom' }, 'The share of time that a worker spends in ',
        'turns; paler, what else its core does. Near 100 % clients wait for each other.')
    return {
        element: card('Workers and cores', {}, wide('Workers and their cores', rows.element), hint),
        update: (figures) => rows.fill(figures.workers),
    }
}

function slow() {
    const columns = [
        { title: 'Client', cell: (row) => clientLink(row.client_id, brief(row.client_id)) },
        { title: 'Waiting', class: 'number', cell: (row) => count(row.queued_messages) },
        { title: 'Size', class: 'number', cell: (row) => bytes(row.queued_bytes) },
        {
            title: 'In flight', class: 'number aside',
            cell: (row) => count(row.inflight_messages),
        },
        { title: 'Worker', class: 'number aside', cell: (row) => String(row.worker) },
        {
            title: 'Socket', cell: (row) => row.blocked
                ? el('span', { class: 'badge danger' }, 'blocked') : 'takes all',
        },
    ]
    const rows = table('Subscribers that hold things up', columns)
    const list = wide('Subscribers that hold things up', rows.element)
    const none = el('p', { class: 'empty' }, 'No connected subscriber waits for anything.')
    return {
        element: card('Slow subscribers', {}, list, none),
        update({ slow: found }) {
            list.hidden = found.length === 0
            none.hidden = found.length > 0
            refill(rows.body, rows.rows(found))
        },
    }
}

/** Lines over time: a gap where there are no figures. */
function series(all, ...reads) {
    const at = all.map((sample) => sample.at)
    return [at, ...reads.map((read) => all.map(({ figures }) => figures ? read(figures) : null))]
}

function rates(signal) {
    const into = rateChart(signal, 'Messages in, a second, over the last ten minutes',
        [{ label: 'In', colour: '--one' }])
    const out = rateChart(signal, 'Messages out, a second, over the last ten minutes',
        [{ label: 'Out', colour: '--four' }])
    return {
        element: card('Messages', {}, into.element, out.element),
        update(figures, all) {
            into.update(series(all, (it) => total(it.rates.publishes_received)))
            out.update(series(all, (it) => total(it.rates.publishes_sent)))
        },
    }
}

function drops(signal) {
    const chart = rateChart(signal, 'Messages dropped, a second, over the last ten minutes',
        [{ label: 'Dropped', colour: '--danger' }])
    const columns = [
        { title: 'Reason', cell: ([reason]) => REASONS[reason] ?? reason },
        { title: 'Now', class: 'number', cell: ([, rate]) => `${short(rate)}/s` },
        { title: 'Since the start', class: 'number', cell: ([, , all]) => count(all) },
    ]
    const rows = table('Dropped messages by reason', columns, { 'data-table': 'drops' })
    return {
        element: card('Dropped by reason', {}, chart.element, rows.element),
        update({ rates: now, metrics }, all) {
            chart.update(series(all, (it) => total(it.rates.messages_dropped)))
            const reasons = Object.entries(metrics.messages_dropped)
            rows.fill(reasons.map(([reason, sum]) =>
                [reason, now.messages_dropped?.[reason] ?? 0, sum]))
        },
    }
}

/** Quantiles that the table shows, with their titles. */
const SHOWN = [[0.5, '50 %'], [0.9, '90 %'], [0.99, '99 %'], [0.999, '99.9 %'], [1, 'greatest']]

function latency(signal) {
    const chart = percentileChart(signal)
    let quantiles = []
    const columns = [
        { title: 'QoS', cell: ([qos]) => qos },
        { title: 'Copies', class: 'number', cell: ([, of]) => count(of.count) },
        ...SHOWN.map(([share, name]) => ({
            title: name, class: 'number',
            cell: ([, of]) => of.count ? milliseconds(of.ms[quantiles.indexOf(share)]) : '–',
        })),
    ]
    const rows = table('Delivery times of the last minute', columns, { 'data-table': 'latency' })
    const list = wide('Delivery times of the last minute', rows.element)
    const hint = el('p', { class: 'muted' }, 'From the receipt of a message until a copy is ',
        'handed to the kernel, in the last minute; copies that waited for their client are ',
        'not in it.')
    return {
        element: card('Delivery times by percentile', {}, chart.element, list, hint),
        update({ delivery }) {
            chart.update(delivery)
            quantiles = delivery.quantiles
            rows.fill(Object.entries(delivery.qos))
        },
    }
}

function heat(signal) {
    const map = heatMap(signal)
    return {
        element: card('Delivery times over time', {}, map.element),
        update: (figures, all) => map.update(all),
    }
}

function memory() {
    const used = el('div')
    const parts = el('div', { class: 'bar', role: 'img', 'aria-label': 'The shares of accounts' })
    const summary = el('p')
    const columns = [
        {
            title: 'Account', cell: ([name, , place]) =>
                [el('span', { class: `swatch part-${place}`, 'aria-hidden': 'true' }), name],
        },
        { title: 'Bytes', class: 'number', cell: ([, size]) => bytes(size) },
    ]
    const [left, right] = [table('Memory by account', columns), table('More accounts', columns)]
    const lists = el('div', { class: 'columns' }, left.element, right.element)
    return {
        element: card('Memory', { class: 'memory' }, summary, used,
            el('h3', {}, 'By account'), parts, lists),
        update({ metrics }) {
            const { memory_used: size, memory_limit: limit } = metrics
            const share = limit > 0 ? size / limit : 0
            const level = share >= 0.9 ? 'danger' : share >= 0.8 ? 'warn' : ''
            setText(summary, limit > 0 ? `${bytes(size)} of ${bytes(limit)}: ${percent(share)}`
                : `${bytes(size)}, without a limit`)
            used.replaceChildren(bar('Memory in use', share, level))
            const owners = [...Object.entries(metrics.memory), ['messages', metrics.messages_kept]]
            const known = owners.reduce((sum, [, part]) => sum + part, 0)
            owners.push(['program, buffers, free pages', Math.max(0, size - known)])
            const all = owners.map(([name, part], place) => [name, part, place])
            const whole = Math.max(size, known, 1)
            parts.replaceChildren(...all.map(([name, part, place]) => {
                const piece = el('span', { class: `part-${place}`, title: name })
                piece.style.width = `${100 * part / whole}%`
                return piece
            }))
            left.fill(all.slice(0, 5))
            right.fill(all.slice(5))
        },
    }
}

const JOURNAL = {
    works: ['ok', 'works'],
    failing: ['danger', 'cannot be written'],
    none: ['', 'none: state is in memory'],
}

function journal() {
    const state = el('span', { 'data-figure': 'journal' })
    const time = (name, read) => ({
        title: name, class: 'number', cell: ([, of]) => of.count ? milliseconds(read(of)) : '–',
    })
    const rows = table('Times of the last minute', [
        { title: 'Last minute', cell: ([name]) => name },
        time('50 %', (of) => of.p50_ms), time('99 %', (of) => of.p99_ms),
        time('greatest', (of) => of.max_ms),
    ])
    const hint = el('p', { class: 'muted bottom' }, 'A worker serves its clients turn by turn; ',
        'a message waits for the turn before its own.')
    return {
        element: card('Journal and turns', {}, el('p', {}, 'Journal: ', state),
            wide('Times of the last minute', rows.element), hint),
        update(figures) {
            const [level, words] = JOURNAL[figures.journal]
            state.replaceChildren(el('span', { class: `badge ${level}` }, words))
            rows.fill([['Change until on disk', figures.commit],
                ['Turn of a worker', figures.turn]])
        },
    }
}
