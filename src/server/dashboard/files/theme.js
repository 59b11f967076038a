// Sets the theme before the page is drawn: the chosen one, or the system's.
'use strict'
{
    const system = matchMedia('(prefers-color-scheme: dark)')
    const set = () => {
        let chosen = null
        try {
            chosen = localStorage.getItem('ringmq-theme')
        } catch {
            // A browser that keeps nothing shows the system's theme.
        }
        const isChosen = chosen === 'light' || chosen === 'dark'
        document.documentElement.dataset.theme =
            isChosen ? chosen : system.matches ? 'dark' : 'light'
        document.dispatchEvent(new Event('themechange'))
    }
    system.addEventListener('change', set)
    set()
}
