"""`sipsimple session`: an interactive user agent in the terminal, for calls, chat, files and desktops.

`run` starts it, `terminal` reads lines, `commands` says what the lines mean, `client` and its helpers do it, and
`tell` turns what happens into lines to print.
"""
