// Charts: lines by uPlot, and a heat map of our own.
/* global uPlot */

import { el, setText } from './dom.js'
import { clock, count, milliseconds, quantile, short } from './format.js'

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
const timeOf = (seconds) => clock(new Date(1000 * seconds))
const FONT = '12px system-ui, sans-serif'

/** Draws anew when the width or the theme changes, until the signal aborts. */
function keepDrawn(element, signal, draw) {
    const sizes = new ResizeObserver(() => draw(element.clientWidth))
    sizes.observe(element)
    const again = () => draw(element.clientWidth)
    document.addEventListener('themechange', again, { signal })
    signal.addEventListener('abort', () => sizes.disconnect())
}

function axis(more) {
    return {
        stroke: () => colour('--muted'),
        font: FONT,
        grid: { stroke: () => colour('--grid'), width: 1 },
        ticks: { stroke: () => colour('--grid'), width: 1, size: 4 },
        ...more,
    }
}

/** A legend whose values follow the cursor. Series are `{ label, colour }`. */
function legend(series) {
    const values = series.map(() => el('b'))
    const items = series.map((one, place) => {
        const swatch = el('span', { class: 'swatch', 'aria-hidden': 'true' })
        swatch.style.background = `var(${one.colour})`
        return el('li', {}, swatch, `${one.label} `, values[place])
    })
    return { element: el('ul', { class: 'legend' }, ...items), values }
}

/** uPlot in a box of its own. `show(u, place)` sets the legend: place null is the newest. */
function plot(signal, label, height, options, show) {
    const box = el('div', { class: 'chart', role: 'img', 'aria-label': label })
    let chart = null
    let data = null
    const hooks = { setCursor: [(u) => show(u, u.cursor.idx)] }
    const draw = (width) => {
        if (!data || width < 50) return
        if (chart) {
            chart.setSize({ width, height })
            chart.redraw(false, true)
        } else {
            const fixed = { width, height, legend: { show: false }, hooks }
            chart = new uPlot({ ...options, ...fixed }, data, box)
        }
    }
    keepDrawn(box, signal, draw)
    signal.addEventListener('abort', () => chart?.destroy())
    const update = (next) => {
        data = next
        if (chart) chart.setData(data)
        else draw(box.clientWidth)
        if (chart) show(chart, chart.cursor.idx)
    }
    return { box, update }
}

/** Rates over time, from zero up. */
export function rateChart(signal, label, series) {
    const { element, values } = legend(series)
    const options = {
        padding: [8, 28, 0, 0],
        cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
        scales: { x: { time: true }, y: { range: (u, low, high) => [0, Math.max(high * 1.1, 1)] } },
        axes: [
            axis({ space: 70, values: (u, ticks) => ticks.map(timeOf) }),
            axis({ size: 56, values: (u, ticks) => ticks.map(short) }),
        ],
        series: [{}, ...series.map((one) => ({
            label: one.label, stroke: () => colour(one.colour), width: 2, points: { show: false },
            dash: one.dash,
        }))],
    }
    const show = (u, place) => values.forEach((value, index) => {
        const all = u.data[index + 1]
        const at = place ?? all.length - 1
        setText(value, all[at] === null || all[at] === undefined ? '–' : `${short(all[at])}/s`)
    })
    const { box, update } = plot(signal, label, 170, options, show)
    return { element: el('div', {}, element, box), update }
}

const DASHES = [undefined, [8, 4], [2, 4]]
const QOS_COLOURS = ['--one', '--two', '--three']

/** Delivery times by quantile: the axis stretches what is rare, ten times rarer is as far again. */
export function percentileChart(signal) {
    const series = [0, 1, 2].map((qos) => ({ label: `QoS ${qos}`, colour: QOS_COLOURS[qos] }))
    const { element, values } = legend(series)
    const decades = (low, high) => {
        const from = low > 0 ? Math.floor(Math.log10(low)) : -2
        const to = high > 0 ? Math.ceil(Math.log10(high)) : 1
        return [10 ** from, 10 ** Math.max(to, from + 1)]
    }
    const isNarrow = (u) => u.width < 420
    const marks = (u) => [2, 10, 100, 1e3, 1e4, 1e5].filter((at) => at <= u.scales.x.max)
    const powers = (u) => Array.from({ length: 16 }, (_, place) => 10 ** (place - 6))
        .filter((at) => at >= u.scales.y.min * 0.999 && at <= u.scales.y.max * 1.001)
    const share = (u, rarity) => quantile(1 - 1 / rarity).replace(isNarrow(u) ? '\u00a0%' : '', '')
    const options = {
        padding: [8, 30, 0, 0],
        cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
        scales: {
            x: { time: false, distr: 3, range: (u, low, high) => [1, Math.max(high ?? 0, 1e3)] },
            y: { distr: 3, range: (u, low, high) => decades(low, high) },
        },
        axes: [
            axis({
                splits: marks, filter: (u, splits) => splits, space: 30,
                values: (u, ticks) => ticks.map((rarity) => share(u, rarity)),
            }),
            axis({
                size: 62, splits: powers, filter: (u, splits) => splits,
                values: (u, ticks) => ticks.map(milliseconds),
            }),
        ],
        series: [{}, ...series.map((one, qos) => ({
            label: one.label, stroke: () => colour(one.colour), width: 2, dash: DASHES[qos],
            points: { show: false }, spanGaps: true,
        }))],
    }
    const show = (u, place) => values.forEach((value, index) => {
        const ms = place === null || place === undefined ? null : u.data[index + 1][place]
        const at = ms === null || ms === undefined ? ''
            : `${milliseconds(ms)} at ${quantile(1 - 1 / u.data[0][place])}`
        setText(value, at)
    })
    const label = 'Delivery times by percentile for each QoS; the table below has the figures'
    const { box, update } = plot(signal, label, 230, options, show)
    return {
        element: el('div', {}, element, box),
        update(delivery) {
            const inner = delivery.quantiles.slice(0, -1)
            const rarity = inner.map((share) => 1 / (1 - share))
            const lines = [0, 1, 2].map((qos) => {
                const of = delivery.qos[qos]
                return rarity.map((rare, place) =>
                    of.count > 0 && rare <= Math.max(of.count, 2) ? of.ms[place] : null)
            })
            update([rarity, ...lines])
        },
    }
}

const POINT = 'Point at a cell for its count.'
const HEAT = { left: 52, right: 8, top: 8, bottom: 24, columns: 300 }

/** How many deliveries took how long, over the last ten minutes. */
export function heatMap(signal) {
    const canvas = el('canvas', {
        role: 'img',
        'aria-label': 'Delivery times of the last ten minutes, stronger where there are ' +
            'more; the table of delivery times has the figures of the last minute',
    })
    const readout = el('p', { class: 'readout' }, POINT)
    const element = el('div', { class: 'chart heat' }, canvas, readout)
    let samples = []
    let cells = null
    const draw = () => { cells = paint(canvas, samples) }
    keepDrawn(element, signal, draw)
    canvas.addEventListener('pointermove', (event) => {
        setText(readout, cells?.at(event.offsetX, event.offsetY) ?? POINT)
    })
    return {
        element,
        update(next) {
            samples = next
            draw()
        },
    }
}

function mix(low, high, share) {
    const part = (text, place) => parseInt(text.slice(1 + 2 * place, 3 + 2 * place), 16)
    const channel = (place) =>
        Math.round(part(low, place) + (part(high, place) - part(low, place)) * share)
    return `rgb(${channel(0)} ${channel(1)} ${channel(2)})`
}

/** The rows that have counts, with whole decades around them. */
function decadesOf(heats, perDecade) {
    let [low, high] = [Infinity, -1]
    for (const heat of heats) {
        heat.counts.forEach((number, row) => {
            if (number > 0) [low, high] = [Math.min(low, row), Math.max(high, row)]
        })
    }
    if (high < 0) return [0, 3 * perDecade]
    const from = Math.floor(low / perDecade) * perDecade
    return [from, Math.max(Math.ceil((high + 1) / perDecade) * perDecade, from + perDecade)]
}

/** Draws the map; returns what stands at a place of it. */
function paint(canvas, samples) {
    const ratio = devicePixelRatio || 1
    const [width, height] = [canvas.clientWidth, canvas.clientHeight]
    if (width < 50) return null
    canvas.width = Math.round(width * ratio)
    canvas.height = Math.round(height * ratio)
    const pen = canvas.getContext('2d')
    pen.scale(ratio, ratio)
    pen.font = FONT
    const shown = samples.filter((sample) => sample.figures).slice(-HEAT.columns)
    const heats = shown.map((sample) => sample.figures.heat)
    const [perDecade, fromMs] = [heats[0]?.rows_a_decade ?? 8, heats[0]?.from_ms ?? 0.01]
    const [first, last] = decadesOf(heats, perDecade)
    const [inner, tall] = [width - HEAT.left - HEAT.right, height - HEAT.top - HEAT.bottom]
    const rowHeight = tall / (last - first)
    const y = (row) => HEAT.top + tall - (row - first) * rowHeight
    pen.textAlign = 'right'
    pen.textBaseline = 'middle'
    for (let row = first; row <= last; row += perDecade) {
        pen.fillStyle = colour('--grid')
        pen.fillRect(HEAT.left, Math.round(y(row)), inner, 1)
        pen.fillStyle = colour('--muted')
        pen.fillText(milliseconds(fromMs * 10 ** (row / perDecade)), HEAT.left - 7, y(row))
    }
    const now = shown.at(-1)?.at ?? Date.now() / 1000
    const spanS = Math.min(600, Math.max(60, now - (shown[0]?.at ?? now)))
    const x = (at) => HEAT.left + inner * (1 - (now - at) / spanS)
    const most = Math.max(1, ...heats.flatMap((heat) => heat.counts))
    const [low, high] = [colour('--heat-low'), colour('--heat-high')]
    shown.forEach(({ at, figures }) => {
        const left = Math.max(HEAT.left, x(at - Math.min(figures.interval_s, 6)))
        const wide = Math.max(x(at) - left, 1)
        figures.heat.counts.forEach((number, row) => {
            if (number === 0 || row < first || row >= last) return
            pen.fillStyle = mix(low, high, Math.log1p(number) / Math.log1p(most))
            pen.fillRect(left, y(row + 1), wide + 0.5, rowHeight + 0.5)
        })
    })
    pen.fillStyle = colour('--muted')
    pen.textBaseline = 'alphabetic'
    for (const [share, align] of [[0, 'left'], [0.5, 'center'], [1, 'right']]) {
        pen.textAlign = align
        pen.fillText(timeOf(now - spanS * (1 - share)), HEAT.left + inner * share, height - 6)
    }
    return {
        at(px, py) {
            const row = first + Math.floor((HEAT.top + tall - py) / rowHeight)
            const at = now - spanS * (1 - (px - HEAT.left) / inner)
            const sample = shown.find((one) => one.at >= at
                && one.at - at <= one.figures.interval_s)
            if (!sample || row < first || row >= last) return null
            const edge = (place) => milliseconds(fromMs * 10 ** (place / perDecade))
            const number = count(sample.figures.heat.counts[row])
            const time = timeOf(sample.at)
            return `${time}: ${number} deliveries took ${edge(row)} to ${edge(row + 1)}`
        },
    }
}
