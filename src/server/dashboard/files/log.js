// The end of the log, and what is added to it.

import { keepOpen } from './api.js'
import { card, el, field, select, setText } from './dom.js'

export const title = () => 'Log'

/** Lines that are kept here. */
const KEPT_MAX = 1000

const LEVELS = ['ERROR', 'WARN', 'INFO', 'DEBUG', 'TRACE']
const NAMES = [['0', 'Errors'], ['1', 'and warnings'], ['2', 'and news'], ['4', 'All']]

export function render(main, signal) {
    const level = select(NAMES)
    level.value = '4'
    const words = el('input', { type: 'search', spellcheck: 'false' })
    const pause = el('button', { type: 'button', class: 'quiet', 'aria-pressed': 'false' }, 'Pause')
    const status = el('p', { class: 'muted', role: 'status' }, 'Waiting for the log…')
    const list = el('ol', { class: 'stream mono', tabindex: 0, 'aria-label': 'Lines of the log' })
    const form = el('form', { class: 'form' }, field('Levels', level),
        field('With the words', words), pause)
    main.append(el('h1', {}, 'Log'), card('Filter', {}, form),
        card('Lines', { class: 'bottom' }, status, list))
    let [lines, next, missed, isDrawing, isPaused] = [[], 0, 0, false, false]

    const isShown = (line) => {
        const place = LEVELS.indexOf(line.level)
        return (place < 0 ? 0 : place) <= Number(level.value)
            && textOf(line).toLowerCase().includes(words.value.toLowerCase())
    }
    const draw = (isWhole) => {
        const isAtEnd = isWhole || list.scrollHeight - list.scrollTop - list.clientHeight < 40
        const from = isWhole ? 0 : lines.findIndex((line) => !line.isDrawn)
        const fresh = from < 0 ? [] : lines.slice(from)
        if (isWhole) list.replaceChildren()
        fresh.forEach((line) => { line.isDrawn = true })
        list.append(...fresh.filter(isShown).map(row))
        while (list.childElementCount > KEPT_MAX) list.firstElementChild.remove()
        if (isAtEnd) list.scrollTop = list.scrollHeight
        const lost = missed ? `; ${missed} came too fast to be shown` : ''
        setText(status, isPaused ? 'Paused.' : list.childElementCount === 0
            ? 'No line is to be shown.' : `The newest lines are at the end${lost}.`)
    }
    const ask = () => {
        if (isDrawing || isPaused) return
        isDrawing = true
        requestAnimationFrame(() => {
            isDrawing = false
            draw(false)
        })
    }
    const take = (line) => {
        // After a break the broker begins with all that it has kept; a new one begins at 0.
        if (line.number < next && line.time <= (lines.at(-1)?.time ?? '')) return
        if (line.number > next && lines.length) missed += line.number - next
        next = line.number + 1
        lines.push(line)
        if (lines.length > KEPT_MAX) lines.shift()
        ask()
    }
    form.addEventListener('submit', (event) => event.preventDefault())
    form.addEventListener('input', () => draw(true))
    pause.addEventListener('click', () => {
        isPaused = !isPaused
        pause.setAttribute('aria-pressed', String(isPaused))
        draw(false)
    })
    keepOpen('api/v1/log', signal, take, (state, reason) => {
        if (state === 'away' && reason) setText(status, reason)
        if (state === 'open' && lines.length === 0) setText(status, 'No line is to be shown.')
    })
}

/** The words of a line, and those of its fields that the words do not have already. */
function textOf(line) {
    const fields = Object.entries(line.fields)
        .filter(([, value]) => !line.message.includes(String(value)))
        .map(([name, value]) => ` ${name}=${value}`)
    return line.message + fields.join('')
}

function row(line) {
    const time = line.time.replace('T', ' ').replace(/(\.\d{3})\d*Z$/, '$1')
    return el('li', {}, el('span', { class: 'muted' }, `${time} `),
        el('span', { class: `level ${LEVELS.includes(line.level) ? line.level : ''}` }, line.level),
        ` ${textOf(line)}`)
}
