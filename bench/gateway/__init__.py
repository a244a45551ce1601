"""The gateway's own cost per request and per streamed token: its workers compute nothing."""
