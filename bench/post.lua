-- What the study project's own line needs to load Forge, wherever it points:
--   cd bench && wrk -t4 -c1000 -d10s -s post.lua http://localhost:8080/reverse
wrk.method = "POST"
wrk.path = "/infer"
wrk.body = '{"query": "What is aging?", "max_tokens": 8}'
wrk.headers["Content-Type"] = "application/json"
