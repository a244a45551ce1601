"""What it costs the gateway to be watched: metrics, scrapes, the log, the live page."""
