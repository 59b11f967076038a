// The frame of the page: routes, theme, token, and how the connection stands.

import { keepToken, takeToken, token } from './api.js'
import * as client from './client.js'
import * as clients from './clients.js'
import * as mqttConsole from './console.js'
import { setText } from './dom.js'
import { span } from './format.js'
import * as live from './live.js'
import * as log from './log.js'
import * as overview from './overview.js'
import * as topics from './topics.js'

const PAGES = { '': overview, clients, client, topics, console: mqttConsole, log }
const byId = (id) => document.getElementById(id)
const main = byId('main')
let leave = new AbortController()

/** The page and its argument that the address names: `#/client/ID`. */
function place() {
    const [name, ...rest] = location.hash.replace(/^#\/?/, '').split('/')
    return { name: name in PAGES ? name : '', argument: decode(rest.join('/')) }
}

function decode(text) {
    try {
        return decodeURIComponent(text)
    } catch {
        return text
    }
}

function show(isFirst) {
    leave.abort()
    leave = new AbortController()
    const { name, argument } = place()
    const page = PAGES[name]
    document.title = `${page.title(argument)} – ringmq`
    const current = name === 'client' ? '#/clients' : `#/${name}`
    for (const link of byId('pages').querySelectorAll('a')) {
        if (link.getAttribute('href') === current) link.setAttribute('aria-current', 'page')
        else link.removeAttribute('aria-current')
    }
    main.replaceChildren()
    page.render(main, leave.signal, argument)
    if (!isFirst) {
        scrollTo(0, 0)
        main.focus({ preventScroll: true })
    }
}

function showLink({ status, reason }) {
    const words = { open: 'Live', away: 'Away', waiting: 'Connecting' }
    byId('link').dataset.state = status
    setText(byId('link-text'), words[status])
    const away = byId('away')
    const text = reason ? `No live figures: ${reason}`
        : 'The broker does not answer. Trying again…'
    setText(away, status === 'away' ? text : '')
    away.hidden = status !== 'away'
    const figures = live.latest()
    if (figures) {
        setText(byId('foot'), `ringmq ${figures.version}, up for ${span(figures.uptime_s)}`)
    }
}

const isDark = () => document.documentElement.dataset.theme === 'dark'

function setUpTheme() {
    const button = byId('theme')
    const name = () => {
        setText(button, isDark() ? 'Light' : 'Dark')
        button.setAttribute('aria-label', `${isDark() ? 'Light' : 'Dark'} theme`)
    }
    button.addEventListener('click', () => {
        const next = isDark() ? 'light' : 'dark'
        document.documentElement.dataset.theme = next
        try {
            localStorage.setItem('ringmq-theme', next)
        } catch {
            // The choice holds for this page then.
        }
        document.dispatchEvent(new Event('themechange'))
    })
    document.addEventListener('themechange', name)
    name()
}

function setUpToken() {
    const dialog = byId('token-dialog')
    byId('token-open').addEventListener('click', () => {
        byId('token').value = token()
        dialog.showModal()
    })
    byId('token-cancel').addEventListener('click', () => dialog.close())
    byId('token-form').addEventListener('submit', (event) => {
        event.preventDefault()
        keepToken(byId('token').value.trim())
        dialog.close()
        live.again()
        show(true)
    })
}

takeToken()
setUpTheme()
setUpToken()
live.listen(showLink)
live.begin()
addEventListener('hashchange', () => {
    takeToken()
    show(false)
})
// Jumping to the content is no change of the page.
document.querySelector('.skip').addEventListener('click', (event) => {
    event.preventDefault()
    main.focus()
})
show(true)
