"""The gateway's cost of being watched: metrics, scrapes, the log, the live page."""
