"""Models as files: to get them, to look at them, and what memory they will need."""
