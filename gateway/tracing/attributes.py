"""The attributes of spans, declared once: the table in the documentation is made of this. Pure.

OpenTelemetry's are those of its conventions for HTTP servers and for generative AI, whose names
still change: they are constants of our own. vLLM's are beside them, where dashboards read those.
"""

from typing import Literal, NamedTuple

From = Literal["OpenTelemetry", "vLLM", "Forge"]


class Attribute(NamedTuple):
    """The meaning of an attribute."""

    of: str
    """The spans that have it."""
    source: From
    text: str


_HTTP, _WORK, _PARTS = "request", "work", "parts"

ATTRIBUTES: dict[str, Attribute] = {
    "http.request.method": Attribute(_HTTP, "OpenTelemetry", "Method; `_OTHER` if it is unknown"),
    "http.route": Attribute(_HTTP, "OpenTelemetry", "Path of the endpoint, as in OpenAPI"),
    "http.response.status_code": Attribute(_HTTP, "OpenTelemetry", "Status of the answer"),
    "url.path": Attribute(_HTTP, "OpenTelemetry", "Path, its first 256 characters"),
    "url.scheme": Attribute(_HTTP, "OpenTelemetry", "`http` or `https`"),
    "network.protocol.version": Attribute(_HTTP, "OpenTelemetry", "Version of HTTP"),
    "server.address": Attribute(_HTTP, "OpenTelemetry", "Address that the client connected to"),
    "server.port": Attribute(_HTTP, "OpenTelemetry", "Its port"),
    "client.address": Attribute(_HTTP, "OpenTelemetry", "Address of the client or its proxy"),
    "user_agent.original": Attribute(
        _HTTP, "OpenTelemetry", "The client's name for itself, its first 256 characters"
    ),
    "error.type": Attribute(
        "request, work", "OpenTelemetry", "Code of the error; of a request its status from 500 on"
    ),
    "gen_ai.operation.name": Attribute(
        _WORK, "OpenTelemetry", "`chat`, `text_completion`, `embeddings` or `rerank`"
    ),
    "gen_ai.provider.name": Attribute(_WORK, "OpenTelemetry", "`forge`"),
    "gen_ai.request.model": Attribute(_WORK, "OpenTelemetry", "Name of the model"),
    "gen_ai.request.choice.count": Attribute(_WORK, "OpenTelemetry", "`n`, if it is not 1"),
    "gen_ai.request.stream": Attribute(_WORK, "OpenTelemetry", "True if the answer is streamed"),
    "gen_ai.request.max_tokens": Attribute(_WORK, "OpenTelemetry", "Limit of the answer"),
    "gen_ai.request.temperature": Attribute(_WORK, "OpenTelemetry", "As it was used"),
    "gen_ai.request.top_p": Attribute(_WORK, "OpenTelemetry", "As it was used"),
    "gen_ai.request.top_k": Attribute(_WORK, "OpenTelemetry", "As it was used, if it cuts"),
    "gen_ai.request.frequency_penalty": Attribute(_WORK, "OpenTelemetry", "If it is not 0"),
    "gen_ai.request.presence_penalty": Attribute(_WORK, "OpenTelemetry", "If it is not 0"),
    "gen_ai.request.seed": Attribute(
        _WORK, "OpenTelemetry", "Seed that gives the same answer again, also if Forge chose it"
    ),
    "gen_ai.output.type": Attribute(_WORK, "OpenTelemetry", "`text` or `json`"),
    "gen_ai.response.id": Attribute(_WORK, "OpenTelemetry", "The request's name, `X-Request-Id`"),
    "gen_ai.response.model": Attribute(_WORK, "OpenTelemetry", "Name of the model"),
    "gen_ai.response.finish_reasons": Attribute(
        _WORK, "OpenTelemetry", "Reason of each answer: `stop`, `length`, `tool_calls`"
    ),
    "gen_ai.response.time_to_first_chunk": Attribute(
        _WORK, "OpenTelemetry", "Of a stream: seconds from arrival to the first token"
    ),
    "gen_ai.usage.input_tokens": Attribute(_WORK, "OpenTelemetry", "Tokens of the prompts"),
    "gen_ai.usage.output_tokens": Attribute(_WORK, "OpenTelemetry", "Tokens sampled"),
    "gen_ai.usage.cache_read.input_tokens": Attribute(
        _WORK, "OpenTelemetry", "Tokens of the prompts that were computed before"
    ),
    "gen_ai.request.id": Attribute(_WORK, "vLLM", "The request's name"),
    "gen_ai.request.n": Attribute(_WORK, "vLLM", "Answers to each prompt"),
    "gen_ai.usage.prompt_tokens": Attribute(_WORK, "vLLM", "Tokens of the prompts"),
    "gen_ai.usage.completion_tokens": Attribute(_WORK, "vLLM", "Tokens sampled"),
    "gen_ai.usage.num_sequences": Attribute(_WORK, "vLLM", "Sequences of the request"),
    "gen_ai.latency.time_in_queue": Attribute(_WORK, "vLLM", "Seconds from arrival to a slot"),
    "gen_ai.latency.time_to_first_token": Attribute(
        _WORK, "vLLM", "Seconds from arrival to the first token"
    ),
    "gen_ai.latency.e2e": Attribute(_WORK, "vLLM", "Seconds from arrival to the end"),
    "gen_ai.latency.time_in_model_prefill": Attribute(
        _WORK, "vLLM", "Seconds from the slot to the first token"
    ),
    "gen_ai.latency.time_in_model_decode": Attribute(
        _WORK, "vLLM", "Seconds from the first token to the last"
    ),
    "gen_ai.latency.time_in_model_inference": Attribute(
        _WORK, "vLLM", "Seconds from the slot to the last token"
    ),
    "forge.request.id": Attribute(_HTTP, "Forge", "The request's name, `X-Request-Id`"),
    "forge.batch.line": Attribute(_HTTP, "Forge", "True: a line of a batch"),
    "forge.owner": Attribute(_WORK, "Forge", "Name of the API key"),
    "forge.priority": Attribute(_WORK, "Forge", "Base priority"),
    "forge.class": Attribute(_WORK, "Forge", "Its class, as in the metrics"),
    "forge.spare": Attribute(_WORK, "Forge", "True: it takes only slots that nothing else wants"),
    "forge.outcome": Attribute(
        _WORK, "Forge", "The end, as in the metrics: `finished`, `cancelled`, `expired` ..."
    ),
    "forge.queue.wait": Attribute(_WORK, "Forge", "Seconds from arrival to the first slot"),
    "forge.parked.seconds": Attribute(_WORK, "Forge", "Seconds without a slot after that"),
    "forge.preempted": Attribute(_WORK, "Forge", "True if it gave a slot to a more urgent one"),
    "forge.retried": Attribute(_WORK, "Forge", "True if a worker died and another went on"),
    "forge.prefix.cached_tokens": Attribute(
        _WORK, "Forge", "Tokens of the prompts that were computed before"
    ),
    "forge.draft.tokens": Attribute(_WORK, "Forge", "Tokens computed ahead"),
    "forge.draft.accepted_tokens": Attribute(_WORK, "Forge", "Those of them that were sampled"),
    "forge.trace.truncated": Attribute(_WORK, "Forge", "True if it has more parts or events"),
    "forge.worker.id": Attribute(
        "work, parts, events", "Forge", "Worker, as in `/workers`; of the work the last one"
    ),
    "forge.worker.node": Attribute(
        "work, parts, events", "Forge", "Its machine, where workers run on those of a cluster"
    ),
    "forge.attempt": Attribute(_PARTS, "Forge", "Number of the stay in a slot, from 1 on"),
    "forge.choice": Attribute(
        "parts, events", "Forge", "Index of the answer, if there are several"
    ),
    "forge.queue.reason": Attribute(
        _PARTS,
        "Forge",
        "The reason for waiting: `arrival`, `preemption`, `memory`, `slow_reader` or `worker_lost`",
    ),
    "forge.parked.reason": Attribute(
        "events", "Forge", "The reason for giving up the slot, as above"
    ),
}
