// Numbers, sizes and times as people read them.

const whole = new Intl.NumberFormat('en')

/** A whole number with its groups. */
export const count = (number) => whole.format(number ?? 0)

/** A rate or another number, short: three digits and a letter. */
export function short(number) {
    if (!Number.isFinite(number)) return '–'
    const units = [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]
    for (const [unit, letter] of units) {
        if (number >= unit) {
            const divisor = letter === 'k' ? 1e3 : unit
            return `${digits(number / divisor)}\u00a0${letter}`
        }
    }
    return number >= 100 || Number.isInteger(number) ? whole.format(Math.round(number))
        : digits(number)
}

/** Three significant digits, without an exponent. */
function digits(number) {
    if (number === 0) return '0'
    if (number >= 100) return whole.format(Math.round(number))
    return String(Number(number.toPrecision(number >= 10 ? 3 : 2)))
}

export function bytes(number) {
    if (!Number.isFinite(number)) return '–'
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
    let unit = 0
    while (number >= 1024 && unit < units.length - 1) {
        number /= 1024
        unit += 1
    }
    return `${unit === 0 ? whole.format(number) : digits(number)}\u00a0${units[unit]}`
}

/** Milliseconds with the unit that suits. */
export function milliseconds(ms) {
    if (!Number.isFinite(ms)) return '–'
    if (ms === 0) return '0'
    if (ms < 1) return `${digits(ms * 1000)}\u00a0µs`
    return ms < 1000 ? `${digits(ms)}\u00a0ms` : `${digits(ms / 1000)}\u00a0s`
}

/** Seconds as days, hours, minutes: the two greatest. */
export function span(seconds) {
    if (seconds === null || seconds === undefined) return '–'
    const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]
    const shown = []
    let left = Math.round(seconds)
    for (const [length, unit] of parts) {
        if (left >= length && shown.length < 2) {
            shown.push(`${Math.floor(left / length)}\u00a0${unit}`)
            left %= length
        }
    }
    return shown.join(' ') || '0\u00a0s'
}

export function percent(share) {
    const decimals = share > 0 && share < 0.1 ? 1 : 0
    return `${(100 * share).toFixed(decimals)}\u00a0%`
}

/** A quantile as operators say it: 99.9 %. */
export const quantile = (share) => `${Number((100 * share).toPrecision(7))}\u00a0%`

export const clock = (date) => date.toLocaleTimeString('en-GB')

/** The sum of a family, or the number itself. */
export function total(value) {
    if (value === null || value === undefined) return 0
    return typeof value === 'number' ? value
        : Object.values(value).reduce((sum, part) => sum + part, 0)
}
