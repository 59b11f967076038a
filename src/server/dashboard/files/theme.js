// Sets the chosen theme before the page is drawn; without a choice the system's holds.
'use strict'
try {
    const theme = localStorage.getItem('ringmq-theme')
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
    // A browser that keeps nothing shows the system's theme.
}
