// Topics: what is retained, who gets a topic, and a message from here.

import { change, get } from './api.js'
import { clientLink } from './clients.js'
import { card, confirm, el, field, select, setText, table, wide } from './dom.js'
import { bytes, count, span } from './format.js'

export const title = () => 'Topics'

export function render(main, signal) {
    const shown = message()
    main.append(el('h1', {}, 'Topics'), el('div', { class: 'grid' },
        retained(signal, shown.show), shown.element, recipients(signal), publish()))
}

/** The tree of retained messages: each level is asked for when it is opened. */
function retained(signal, show) {
    const root = el('ul', { class: 'tree', 'aria-label': 'Retained messages' })
    const status = el('p', { class: 'muted', role: 'status' })
    const again = el('button', { type: 'button', class: 'quiet bottom' }, 'Look again')
    const choose = (button, topic) => {
        root.querySelector('[aria-current]')?.removeAttribute('aria-current')
        button.setAttribute('aria-current', 'true')
        show(topic)
    }
    const fill = async (list, below, prefix) => {
        const found = await get('api/v1/retained', { below, prefix }, signal)
        list.append(...found.levels.map((level) => item(level)))
        if (found.is_cut) {
            // More names than anybody reads: those that begin in some way are asked for.
            const begin = el('input', { placeholder: 'names that begin with …',
                'aria-label': 'More names: those that begin with', spellcheck: 'false' })
            begin.addEventListener('change', () => {
                list.replaceChildren()
                fill(list, below, begin.value).catch((error) => setText(status, error.message))
            })
            list.append(el('li', {}, begin))
        }
        return list.childElementCount
    }
    const item = (level) => {
        const name = level.level === '' ? '(empty level)' : level.level
        const row = el('div')
        const element = el('li', {}, row)
        const size = el('span', { class: 'muted' }, level.is_retained ? bytes(level.bytes) : '')
        if (!level.has_more) {
            const leaf = el('button', { type: 'button' }, name)
            leaf.addEventListener('click', () => choose(leaf, level.topic))
            row.classList.add('leaf')
            row.append(leaf, size)
            return element
        }
        const button = el('button', { type: 'button', 'aria-expanded': 'false' }, name)
        const list = el('ul')
        button.addEventListener('click', async () => {
            const isOpen = button.getAttribute('aria-expanded') === 'true'
            button.setAttribute('aria-expanded', String(!isOpen))
            list.remove()
            if (isOpen) return
            list.replaceChildren()
            element.append(list)
            await fill(list, level.topic).catch((error) => setText(status, error.message))
        })
        row.append(button)
        if (level.is_retained) {
            const own = el('button', { type: 'button' }, 'its message')
            own.setAttribute('aria-label', `The message of ${level.topic}`)
            own.addEventListener('click', () => choose(own, level.topic))
            row.append(own, size)
        }
        return element
    }
    const look = async () => {
        root.replaceChildren()
        setText(status, '')
        try {
            if (!await fill(root)) setText(status, 'No message is retained.')
        } catch (error) {
            if (error.name !== 'AbortError') setText(status, error.message)
        }
    }
    again.addEventListener('click', look)
    look()
    return card('Retained messages', {}, status, root, again)
}

/** The bytes as text, if they are text. */
function decoded(base64) {
    const raw = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))
    try {
        return { text: new TextDecoder('utf-8', { fatal: true }).decode(raw), isText: true }
    } catch {
        const hex = Array.from(raw, (byte) => byte.toString(16).padStart(2, '0')).join(' ')
        return { text: hex, isText: false }
    }
}

function message() {
    const none = el('p', { class: 'empty' }, 'Choose a topic in the tree.')
    const body = el('div')
    const result = el('p', { role: 'status' })
    const remove = (topic) => el('button', {
        type: 'button', class: 'danger',
        onclick: async () => {
            const text = `The retained message of ${topic} is lost.`
            if (!await confirm('Delete this message?', text, 'Delete')) return
            try {
                await change('DELETE', 'api/v1/retained', { filter: topic })
                result.className = 'done'
                setText(result, 'Deleted.')
            } catch (error) {
                result.className = 'error'
                setText(result, error.message)
            }
        },
    }, 'Delete')
    const fact = (name, value) => [el('dt', {}, name), el('dd', {}, value)]
    const show = async (topic) => {
        setText(result, '')
        result.className = ''
        try {
            const found = await get('api/v1/retained/message', { topic })
            const { text, isText } = decoded(found.payload_base64)
            none.hidden = true
            body.replaceChildren(
                el('h3', { class: 'mono' }, found.topic),
                el('pre', { class: 'payload', tabindex: 0, 'aria-label': 'Payload' }, text),
                el('dl', { class: 'facts' },
                    ...fact('Size', `${bytes(found.bytes)}${isText ? '' : ', not text: in hex'}`),
                    ...fact('QoS', String(found.qos)),
                    ...fact('Age', span(found.age_s)),
                    ...(found.expiry_s ? fact('Expires in', span(found.expiry_s)) : [])),
                el('div', { class: 'row bottom' }, remove(topic)))
        } catch (error) {
            body.replaceChildren(el('p', { class: 'error' }, error.status === 404
                ? 'No message is retained there any more.' : error.message))
        }
    }
    return { element: card('Message', { 'aria-live': 'polite' }, none, body, result), show }
}

function recipients(signal) {
    const topic = el('input', { required: true, placeholder: 'site/1/temperature',
        spellcheck: 'false', autocapitalize: 'off' })
    const status = el('p', { class: 'muted', role: 'status' })
    const columns = [
        { title: 'Client', cell: (row) => clientLink(row.client_id) },
        { title: 'By its filter', cell: (row) => el('code', {}, row.filter) },
        { title: 'QoS', class: 'number', cell: (row) => String(row.qos) },
    ]
    const { element, fill } = table('Clients that get the topic', columns)
    const list = wide('Clients that get the topic', element)
    list.classList.add('tall')
    list.hidden = true
    const form = el('form', { class: 'form' }, field('Topic', topic), el('button', {}, 'Look'))
    const SHOWN = 200
    form.addEventListener('submit', async (event) => {
        event.preventDefault()
        try {
            const answer = await get('api/v1/subscribers', { topic: topic.value }, signal)
            const { subscribers } = answer
            const all = count(answer.count)
            list.hidden = subscribers.length === 0
            fill(subscribers.slice(0, SHOWN))
            setText(status, subscribers.length === 0 ? 'No client gets this topic.'
                : subscribers.length > SHOWN ? `The first ${SHOWN} of ${all} subscriptions.`
                    : subscribers.length === 1 ? '1 subscription.' : `${all} subscriptions.`)
        } catch (error) {
            list.hidden = true
            if (error.name !== 'AbortError') setText(status, error.message)
        }
    })
    return card('Who gets a topic', {}, form, status, list)
}

function publish() {
    const topic = el('input', { required: true, spellcheck: 'false', autocapitalize: 'off' })
    const payload = el('textarea', { spellcheck: 'false' })
    const qos = select([['0', '0'], ['1', '1'], ['2', '2']])
    const retain = el('input', { type: 'checkbox' })
    const result = el('p', { role: 'status' })
    const form = el('form', { class: 'form' }, field('Topic', topic), field('QoS', qos),
        field('Payload', payload, { class: 'field all' }),
        el('label', { class: 'check' }, retain, 'Retain'), el('button', {}, 'Publish'))
    form.addEventListener('submit', async (event) => {
        event.preventDefault()
        try {
            const { is_wanted: isWanted } = await change('POST', 'api/v1/publish', {}, {
                topic: topic.value, payload: payload.value, qos: Number(qos.value),
                retain: retain.checked,
            })
            result.className = 'done'
            setText(result, isWanted ? 'Published.' : 'Published; nobody has subscribed to it.')
        } catch (error) {
            result.className = 'error'
            setText(result, error.message)
        }
    })
    return card('Publish', {}, form, result)
}
