// Questions to the broker; the token goes with each of them.

const KEY = 'ringmq-token'

/** The token that this tab keeps, if any. */
export function token() {
    try {
        return sessionStorage.getItem(KEY) ?? ''
    } catch {
        return ''
    }
}

export function keepToken(text) {
    try {
        if (text) sessionStorage.setItem(KEY, text)
        else sessionStorage.removeItem(KEY)
    } catch {
        // A browser that keeps nothing goes without.
    }
}

/** Takes a token out of the address bar, where the broker's own link has it. */
export function takeToken() {
    const found = /^#token=([^&]+)/.exec(location.hash)
    if (!found) return
    keepToken(decodeURIComponent(found[1]))
    history.replaceState(null, '', `${location.pathname}#/`)
}

/** A refusal by the broker; status 0 is no answer at all. */
export class Refused extends Error {
    constructor(status, message) {
        super(message)
        this.status = status
    }
}

async function ask(path, options = {}) {
    const headers = { ...options.headers }
    if (token()) headers.Authorization = `Bearer ${token()}`
    let answer
    try {
        answer = await fetch(path, { ...options, headers, cache: 'no-store' })
    } catch (error) {
        if (error.name === 'AbortError') throw error
        throw new Refused(0, 'The broker does not answer.')
    }
    if (answer.ok) return answer
    const text = await answer.text().catch(() => '')
    throw new Refused(answer.status, words(answer.status, text))
}

/** The broker's own words about a refusal, or ours. */
function words(status, text) {
    try {
        const { error } = JSON.parse(text)
        if (typeof error === 'string') {
            const hint = status === 401 ? ' – give the token by the button above.' : ''
            return error + hint
        }
    } catch {
        // No JSON: an answer for a path that this broker does not have.
    }
    if (status === 401) return 'The broker wants a token: give it by the button above.'
    if (status === 404 || status === 405) return 'This version of the broker cannot do that yet.'
    return `The broker answers with status ${status}.`
}

/** `path` with a query of those values that are there. */
export function url(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
    return given.length ? `${path}?${new URLSearchParams(given)}` : path
}

export async function get(path, query, signal) {
    return (await ask(url(path, query), { signal })).json()
}

/** A change: POST, PUT or DELETE. */
export async function change(method, path, query, body) {
    const options = { method }
    if (body !== undefined) {
        options.body = JSON.stringify(body)
        options.headers = { 'Content-Type': 'application/json' }
    }
    const answer = await ask(url(path, query), options)
    const text = await answer.text()
    return text ? JSON.parse(text) : {}
}

/** Calls `take` with each line of an answer that does not end, until the signal aborts it. */
export async function lines(path, query, signal, take, opened = () => {}) {
    const answer = await ask(url(path, query), { signal })
    opened()
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    for (;;) {
        const { done, value } = await reader.read()
        if (done) return
        const all = (rest + value).split('\n')
        rest = all.pop()
        all.forEach(take)
    }
}

/** As `lines`, for server-sent events: calls `take` with what each of them says. */
export function events(path, signal, take, opened) {
    return lines(path, {}, signal, (line) => {
        if (line.startsWith('data: ')) take(JSON.parse(line.slice(6)))
    }, opened)
}

/**
 * Keeps a stream of events open until the signal aborts it. Calls `stands('open')` and, when the
 * broker does not take the stream again at once, `stands('away', its words)`.
 */
export async function keepOpen(path, signal, take, stands) {
    let failures = 0
    while (!signal.aborted) {
        // A stream that falls silent, as behind a tunnel that hangs, is given up as well.
        const attempt = new AbortController()
        const give = () => attempt.abort()
        signal.addEventListener('abort', give)
        const opened = () => {
            failures = 0
            stands('open')
        }
        let reason
        try {
            await events(path, attempt.signal, (event) => take(event, give), opened)
        } catch (error) {
            reason = error instanceof Refused && error.status !== 0 ? error.message : undefined
        }
        signal.removeEventListener('abort', give)
        if (signal.aborted) return
        // The broker ends every connection after some minutes; only then is a first failure usual.
        failures += 1
        if (failures > 1) stands('away', reason)
        const wait = failures === 1 ? 50 : Math.min(500 * 2 ** (failures - 2), 5000)
        await new Promise((resolve) => setTimeout(resolve, wait))
    }
}
