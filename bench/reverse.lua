-- wrk's request for bench.concurrency: the seed's POST /reverse.
wrk.method = "POST"
wrk.body = '{"text": "forge keeps its promises"}'
wrk.headers["Content-Type"] = "application/json"
