-- wrk's request for bench.concurrency: the study project's POST /reverse.
wrk.method = "POST"
wrk.body = '{"text": "forge keeps its promises"}'
wrk.headers["Content-Type"] = "application/json"
