// The broker's live figures, once for all pages of this tab, with the last ten minutes of them.

import { keepOpen } from './api.js'

/** Samples that are kept: ten minutes. */
export const KEPT_MAX = 300

/** The silence after which a stream is given up. */
const SILENCE_MS = 8000

const state = { samples: [], status: 'waiting', reason: '' }
const listeners = new Set()
let stop = null
let timer = 0

/** The samples, each with its time in seconds; a gap is a sample without figures. */
export const samples = () => state.samples
export const latest = () => state.samples.findLast((one) => one.figures?.metrics)?.figures ?? null
export const status = () => state

/** Calls `listener` at each change until the signal aborts. */
export function listen(listener, signal) {
    listeners.add(listener)
    signal?.addEventListener('abort', () => listeners.delete(listener))
    listener(state)
}

function tell() {
    listeners.forEach((listener) => listener(state))
}

function add(figures) {
    state.samples.push({ at: Date.now() / 1000, figures })
    if (state.samples.length > KEPT_MAX) state.samples.shift()
}

/** Begins with the last minute, as far as the broker has it; its samples are rates and heat. */
function addPast(past) {
    if (state.samples.some((sample) => sample.figures)) return
    const now = Date.now() / 1000
    state.samples = past.map((figures) => ({ at: now - figures.ago_s, figures }))
}

function start() {
    stop = new AbortController()
    const { signal } = stop
    keepOpen('api/v1/live', signal, (figures, give) => {
        clearTimeout(timer)
        timer = setTimeout(() => {
            set('away')
            give()
        }, SILENCE_MS)
        if (figures.past) return addPast(figures.past)
        add(figures)
        set('open')
    }, (status, reason) => {
        if (status === 'away') set(status, reason)
    })
}

function set(status, reason = '') {
    if (status === 'away' && state.status === 'open') add(null)
    Object.assign(state, { status, reason })
    tell()
}

function pause() {
    clearTimeout(timer)
    stop?.abort()
    stop = null
    add(null)
}

/** Begins to look; a hidden tab does not, so that the broker need not count for it. */
export function begin() {
    document.addEventListener('visibilitychange', () => {
        if (document.hidden) pause()
        else if (!stop) start()
    })
    if (!document.hidden) start()
}

/** Begins anew, with another token. */
export function again() {
    pause()
    start()
}
