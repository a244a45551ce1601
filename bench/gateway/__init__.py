"""What the gateway itself costs per request and per streamed token: its workers compute nothing."""
