"""OpenAI's Batch API: a file of requests, and a file of their answers."""
