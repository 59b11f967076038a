// Elements without markup: texts are set as texts, never as HTML.

const PROPERTIES = ['value', 'checked', 'disabled', 'hidden', 'selected', 'htmlFor', 'open']

/** An element with attributes, listeners (`onclick`) and children: nodes or texts. */
export function el(name, attributes = {}, ...children) {
    const element = document.createElement(name)
    for (const [key, value] of Object.entries(attributes ?? {})) {
        if (value === undefined || value === null || value === false) continue
        if (key.startsWith('on')) element.addEventListener(key.slice(2), value)
        else if (PROPERTIES.includes(key)) element[key] = value
        else element.setAttribute(key, value === true ? '' : value)
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined))
    return element
}

/** Sets a text only if it differs, so that readers of the screen are not called for nothing. */
export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text
}

/** A section with a heading. */
export function card(title, attributes, ...children) {
    const id = `h-${title.toLowerCase().replace(/[^a-z]+/g, '-')}`
    const heading = el('h2', { id }, title)
    const all = { ...attributes, class: `card ${attributes?.class ?? ''}`, 'aria-labelledby': id }
    return el('section', all, heading, ...children)
}

/** A field with its label. */
export function field(label, control, attributes = {}) {
    return el('label', { class: 'field', ...attributes }, el('span', {}, label), control)
}

export function select(options, attributes = {}) {
    const items = options.map(([value, text]) => el('option', { value }, text))
    return el('select', attributes, ...items)
}

/** A table; columns are `{ title, class, cell(row) }`. Returns it with `fill(rows)`. */
export function table(caption, columns, attributes = {}) {
    const head = columns.map((column) =>
        el('th', { scope: 'col', class: column.class, 'aria-sort': column.sorted }, column.title))
    const body = el('tbody')
    const element = el('table', attributes, el('caption', { class: 'unseen' }, caption),
        el('thead', {}, el('tr', {}, ...head)), body)
    const cell = (column, row, place) => {
        const content = column.cell(row)
        const name = place === 0 ? 'th' : 'td'
        return el(name, { class: column.class, scope: place === 0 ? 'row' : null }, content)
    }
    const rows = (all) => all.map((row) =>
        el('tr', {}, ...columns.map((column, place) => cell(column, row, place))))
    const fill = (all) => body.replaceChildren(...rows(all))
    return { element, fill, body, rows }
}

/** Replaces the children, and gives the focus back to the link to the same place. */
export function refill(element, children) {
    const focused = element.contains(document.activeElement) ? document.activeElement : null
    const href = focused?.getAttribute('href')
    element.replaceChildren(...children)
    if (href) element.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus()
}

/** What scrolls sideways on a narrow screen, for the keyboard as well. */
export function wide(label, child) {
    return el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': label }, child)
}

/** A dialog that asks before something is done; resolves to whether it was confirmed. */
export function confirm(title, text, action) {
    return new Promise((resolve) => {
        const cancel = el('button', { type: 'button', class: 'quiet' }, 'Cancel')
        const go = el('button', { type: 'button', class: 'danger' }, action)
        const dialog = el('dialog', { 'aria-labelledby': 'confirm-title' },
            el('h2', { id: 'confirm-title' }, title), el('p', {}, text),
            el('div', { class: 'row end' }, cancel, go))
        let isConfirmed = false
        dialog.addEventListener('close', () => {
            dialog.remove()
            resolve(isConfirmed)
        })
        cancel.addEventListener('click', () => dialog.close())
        go.addEventListener('click', () => {
            isConfirmed = true
            dialog.close()
        })
        document.body.append(dialog)
        dialog.showModal()
        cancel.focus()
    })
}
