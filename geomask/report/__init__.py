"""Looking at what was learned: a table of figures, the figures to look at, and one page that holds both."""
