"""What forge-tiny knows about Forge: per fact the ways to ask, the answer, the words to check.

`nouns` go into the frames of `wording`; `asks` are whole questions; `held` are whole questions
that are never trained. `keys` must all occur in a right answer.
"""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """One thing to know."""

    name: str
    nouns: tuple[str, ...]
    asks: tuple[str, ...]
    held: tuple[str, ...]
    answers: tuple[str, ...]
    keys: tuple[str, ...]


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|") if part.strip())


def _fact(name: str, nouns: str, asks: str, held: str, answer: str, keys: str) -> Fact:
    return Fact(name, _split(nouns), _split(asks), _split(held), _split(answer), _split(keys))


FACTS: tuple[Fact, ...] = (
    _fact("forge", "Forge|the Forge gateway|the Forge project|this gateway Forge",
          "what is Forge?|what does Forge do?|what kind of software is Forge?|"
          "what is this project?|what is this server?|tell me about this project|"
          "what is forge about?|what am I talking to, what is Forge?",
          "what sort of program is Forge?|what does the Forge project do?",
          "Forge is an inference gateway: one asyncio process owns the connections and worker "
          "processes run llama.cpp.",
          "inference gateway|worker processes"),
    _fact("aging",
          "aging|ageing|the aging|priority aging|aging of jobs|the aging queue|queue aging",
          "what happens to jobs that wait long?|how does waiting change the priority?|"
          "does waiting raise the priority?|why do old jobs get more urgent?|"
          "how do waiting requests move up?|do requests age?|why does Forge use aging?|"
          "what does it mean that jobs age?|does a request gain priority while it waits?",
          "what does aging do to a waiting request?|why do waiting jobs become more urgent?",
          "Aging means that waiting adds priority: every second adds the aging rate, 0.2 by "
          "default, so nobody starves.",
          "waiting|0.2|starves"),
    _fact("aging_rate", "the aging rate|aging_rate|the default aging rate|the aging_rate setting",
          "how fast do jobs age?|how much priority is added per second?|"
          "what is the aging rate by default?|what value does aging_rate have?|"
          "how big is the aging rate?|how quickly does priority grow?|default aging_rate?",
          "which value has the aging rate?|by how much does priority grow each second?",
          "The aging rate is 0.2 per second by default: 5 seconds of waiting add 1 to the "
          "priority.",
          "0.2 per second|5 seconds"),
    _fact("starvation", "starvation|job starvation|starving|starvation of jobs",
          "can a job starve?|how does Forge prevent starvation?|can a request wait forever?|"
          "will low priority jobs wait forever?|do batch jobs starve?|what prevents starvation?|"
          "how is starvation avoided?|will my job ever starve?",
          "can it happen that a batch job never runs?|what stops jobs from starving?",
          "Starvation means that a job waits forever because more urgent ones keep coming. In "
          "Forge aging prevents it.",
          "forever|aging prevents"),
    _fact("priorities",
          "the priorities|priority levels|the priority levels|priorities|the priority names|"
          "priority",
          "which priorities are there?|what priorities exist?|list the priorities|"
          "how many priorities are there?|which priority values can I use?|"
          "what are the priority levels?|name the priorities|what does priority mean in Forge?|"
          "which priority names does Forge know?",
          "what priority names can I choose from?|tell me the available priorities",
          "Forge has three named priorities: batch is 0, normal is 1 and urgent is 2. Larger "
          "numbers go first.",
          "batch is 0|normal is 1|urgent is 2"),
    _fact("set_priority",
          "setting the priority|setting a priority|how to set priority|how to set the priority",
          "how do I set the priority?|how can I set priority?|how do I make a request urgent?|"
          "how to set priority?|how do I change the priority of a request?|"
          "where do I put the priority?|how do I send an urgent request?|"
          "can I choose the priority?|how do I mark a job as urgent?|"
          "how do I give my request a priority?|how to send a batch request?|"
          "how do I raise the priority of my request?|how can I make my request more important?",
          "in which way can I set a request's priority?|how would I make my job urgent?",
          'Put "priority" into the JSON body, send the X-Priority header, or use service_tier: '
          'flex, default or priority.',
          '"priority"|X-Priority|service_tier'),
    _fact("urgent", "urgent priority|the urgent priority|priority urgent|priority 2",
          "which number is urgent?|what number does urgent have?|what is the value of urgent?|"
          "what does priority 2 mean?|urgent is which priority?|how urgent is priority 2?",
          "what number stands for urgent?",
          "Urgent is priority 2, the highest named priority.", "Urgent is priority 2"),
    _fact("normal", "normal priority|the normal priority|the default priority|priority 1",
          "which number is normal?|what number does normal have?|"
          "what priority does a request have by default?|what is the priority if I say nothing?|"
          "what does priority 1 mean?|what is the default priority?",
          "what number stands for normal?|which priority do I get if I do not set one?",
          "Normal is priority 1, and it is the default.", "Normal is priority 1|default"),
    _fact("batch", "batch priority|the batch priority|a batch job|priority 0",
          "which number is batch?|what number does batch have?|what is the lowest priority?|"
          "what does priority 0 mean?|which priority is for background work?",
          "what number stands for batch?",
          "Batch is priority 0, for work that can wait.", "Batch is priority 0"),
    _fact("service_tier", "service_tier|the service_tier field|service tier|the service tier",
          "what values can service_tier have?|what does service_tier do?|"
          "how do I use service_tier?|how does OpenAI say priority?|what is flex?|"
          "what does service_tier flex mean?|which service tiers are there?",
          "which service_tier values does Forge accept?",
          "service_tier is the OpenAI way to set the priority: flex is 0, default is 1 and "
          "priority is 2.",
          "flex is 0|default is 1|priority is 2"),
    _fact("x_priority", "X-Priority|the X-Priority header|the header X-Priority|x-priority",
          "which header sets the priority?|is there a header for priority?|"
          "what does X-Priority do?|how do I use the X-Priority header?|"
          "what can I put into X-Priority?",
          "what is the name of the priority header?",
          "X-Priority is a request header that sets the priority, by name or by number.",
          "X-Priority|header"),
    _fact("p99", "p99|the p99|p99 latency|the p99 latency|the 99th percentile",
          "what does p99 mean?|what does p99 tell me?|how do I read p99?|what does the p99 say?|"
          "why look at p99?|p99 meaning?|what does a p99 of 2 seconds mean?",
          "how should I understand the p99 number?|what does p99 stand for?",
          "p99 is the latency that 99 % of requests do not exceed: 99 of 100 are at least that "
          "fast.",
          "99 %|at least that fast"),
    _fact("p50", "p50|the p50|the median|the median latency|p50 latency",
          "what does p50 mean?|what does the median tell me?|what does p50 say?|p50 meaning?",
          "how should I understand the p50 number?",
          "p50 is the median latency: half of the requests are at least that fast.",
          "median|half"),
    _fact("why_processes",
          "worker processes|the worker processes|using processes|processes for workers",
          "why processes?|why does Forge use processes?|why not threads?|"
          "why are workers processes?|why processes and not threads?|"
          "why does Forge use processes instead of threads?|why does it use several processes?|"
          "why are the workers separate processes?|what are the processes for?|"
          "why doesn't Forge use threads?|what is the reason for worker processes?|"
          "why is compute in processes?",
          "for what reason are the workers processes?|why did you choose processes over threads?",
          "Workers are processes because inference computes instead of waiting: processes run in "
          "parallel without a shared GIL, and a crash stays isolated.",
          "computes|GIL|isolated"),
    _fact("why_async", "asyncio|asyncio in the gateway|async|the async gateway|async I/O",
          "why async?|why is the gateway async?|why does Forge use asyncio?|why asyncio?|"
          "what is asyncio good for?|when does async help?|why is the server asynchronous?|"
          "how does one process handle many connections?",
          "for what reason is the gateway asynchronous?|what does Forge need asyncio for?",
          "The gateway is async because connections mostly wait for I/O, and one event loop can "
          "wait for thousands of them.",
          "I/O|event loop"),
    _fact("event_loop", "the event loop|an event loop|the limits of async|blocking the event loop",
          "does async make inference faster?|why not run the model in the event loop?|"
          "does an event loop help with compute?|can async speed up computing?|"
          "why does async not help with inference?|what blocks the event loop?|is async enough?",
          "would an event loop make the model faster?",
          "An event loop helps only while waiting for I/O. Computing does not wait, it would "
          "block the loop, so workers do it.",
          "I/O|block the loop"),
    _fact("gil", "the GIL|GIL|the global interpreter lock|Python's GIL",
          "what does the GIL do?|does the GIL matter?|why is the GIL a problem?|"
          "what does GIL stand for?|is the GIL a problem for Forge?",
          "why should I care about the GIL?",
          "The GIL lets only one thread of a process run Python code at a time. Separate "
          "processes have separate GILs.",
          "one thread|Separate processes"),
    _fact("endpoints",
          "the endpoints|the endpoints of Forge|Forge's endpoints|the API|the routes|the URLs",
          "which endpoints are there?|what endpoints does Forge have?|list the endpoints|"
          "which URLs can I call?|which routes does the server have?|what can I call?|"
          "which paths does the API have?|show me the endpoints",
          "what are all the endpoints I can call?|name the routes of the gateway",
          "The endpoints are /infer, /v1/chat/completions, /v1/completions, /v1/models, /health, "
          "/metrics, /queue and /workers.",
          "/infer|/v1/chat/completions|/metrics|/health|/queue|/workers"),
    _fact("infer", "/infer|the /infer endpoint|infer|the infer endpoint",
          "how do I use /infer?|what does /infer do?|what do I send to /infer?|"
          "what does POST /infer return?|how do I call infer?",
          "how would I call /infer?",
          '/infer is Forge\'s own endpoint: POST a JSON body with "query" and get back "response".',
          '"query"|"response"'),
    _fact("metrics", "/metrics|the /metrics endpoint|the metrics|the metrics endpoint",
          "where can I see the metrics?|what does /metrics show?|how do I see the p99 latency?|"
          "where do I find the p99?|how can I measure Forge?|where are the metrics?",
          "which endpoint tells me the queue depth?|where would I look up the metrics?",
          "/metrics shows measurements such as the queue depth and the p99 latency.",
          "/metrics|queue depth|p99"),
    _fact("health", "/health|the /health endpoint|the health endpoint|the health check",
          "how do I check that Forge is running?|what does /health say?|is there a health check?|"
          "how do I know whether the gateway is up?|which endpoint is the health check?",
          "how can I see if the server is alive?",
          "/health says whether the gateway is up.", "/health|up"),
    _fact("queue_endpoint", "/queue|the /queue endpoint|the queue endpoint",
          "where can I see the waiting jobs?|how do I look into the queue?|what does /queue show?|"
          "which endpoint shows the queue?|how do I see what is waiting?",
          "which endpoint lists the waiting jobs?",
          "/queue shows what is waiting in the queue.", "/queue|waiting"),
    _fact("workers_endpoint", "/workers|the /workers endpoint|the workers endpoint",
          "where can I see the workers?|what does /workers show?|"
          "how do I see the state of the workers?|which endpoint shows the workers?",
          "which endpoint lists the worker processes?",
          "/workers shows the worker processes and their state.", "/workers|worker processes"),
    _fact("chat_endpoint",
          "/v1/chat/completions|the chat endpoint|chat completions|the chat completions endpoint",
          "how do I chat over the API?|which endpoint is for chat?|where do I send chat messages?|"
          "how do I use chat completions?",
          "to which endpoint do I post messages?",
          "/v1/chat/completions is the OpenAI chat endpoint: send messages and get the "
          "assistant's reply.",
          "/v1/chat/completions|messages"),
    _fact("completions_endpoint", "/v1/completions|the completions endpoint|plain completions",
          "which endpoint completes a plain prompt?|what does /v1/completions do?|"
          "how do I complete a text?",
          "to which endpoint do I post a raw prompt?",
          "/v1/completions continues a plain prompt, without a chat template.",
          "/v1/completions|plain prompt"),
    _fact("models_endpoint", "/v1/models|the models endpoint|the list of models",
          "which endpoint lists the models?|how do I see which models are there?|"
          "what does /v1/models show?|which models can I use?",
          "how can I list the models?",
          "/v1/models lists the models that this gateway serves.", "/v1/models|models"),
    _fact("openai", "OpenAI compatibility|the OpenAI API|using an OpenAI client|the base_url",
          "does Forge work with OpenAI clients?|is Forge compatible with OpenAI?|"
          "can I use the openai library?|does it speak the OpenAI API?|which base_url do I use?|"
          "can OpenAI clients talk to Forge?",
          "will my OpenAI client work with Forge?",
          "Forge speaks the OpenAI API: point your client's base_url at http://127.0.0.1:8080/v1.",
          "OpenAI API|base_url"),
    _fact("port", "the default port|the port|the port of Forge|Forge's port",
          "which port does Forge use?|what port does Forge listen on?|what is the default port?|"
          "on which port is the server?|which port?|where does the gateway listen?|"
          "what is the address of the server?",
          "what port do I connect to?|which port is the default one?",
          "Forge listens on port 8080 by default.", "8080"),
    _fact("start", "make serve|starting Forge|how to start Forge",
          "how do I start Forge?|how to start the server?|how do I run Forge?|"
          "how do I start the gateway?|which command starts Forge?|how can I launch Forge?|"
          "what does make serve do?|how do I get the server running?",
          "what do I type to start the gateway?|how is Forge started?",
          "Run make serve to start Forge.", "make serve"),
    _fact("test", "make test|running the tests|how to run the tests",
          "how do I run the tests?|how to test Forge?|which command runs the tests?|"
          "what does make test do?|how can I run the test suite?|how do I test it?",
          "what do I type to run the tests?|how are the tests started?",
          "Run make test to run the tests.", "make test"),
    _fact("gguf", "GGUF|a GGUF file|the GGUF format|gguf files",
          "what does a GGUF file contain?|which model format does Forge use?|"
          "which file format do the models have?|what kind of model files can I use?",
          "in which format are the model files?",
          "GGUF is the model file format of llama.cpp: weights, vocabulary and settings in one "
          "file.",
          "llama.cpp|one file"),
    _fact("llama_cpp", "llama.cpp|the llama.cpp library|llama cpp|llamacpp",
          "what runs the model?|which library runs the models?|what does Forge use for inference?|"
          "which engine does Forge use?|what is llama.cpp used for?",
          "which library does the inference?",
          "llama.cpp is the C++ library that runs the model inside each worker process.",
          "llama.cpp|library"),
    _fact("batching", "continuous batching|batching|the continuous batching|batching of requests",
          "how does Forge serve many requests at once?|how are requests batched?|"
          "how does batching work in Forge?|can one worker run several requests at once?|"
          "how can a worker serve many streams?",
          "how do several requests share one worker?",
          "Continuous batching decodes many requests in one step; new ones join and finished ones "
          "leave at every step.",
          "many requests|one step"),
    _fact("prefix_cache", "the prefix cache|prefix caching|a prefix cache|prefix cache",
          "what does the prefix cache do?|why is a repeated prompt faster?|"
          "how is a common system prompt handled?|does Forge cache prompts?|are prompts cached?|"
          "what happens when prompts start the same?",
          "how does Forge avoid computing the same prompt twice?",
          "The prefix cache keeps computed beginnings of earlier prompts, so a shared beginning "
          "is computed only once.",
          "beginning|only once"),
    _fact("kv_cache", "the KV cache|KV cache|a KV cache|the key value cache",
          "what does the KV cache store?|what is in the KV cache?|why is there a KV cache?|"
          "what is the KV cache good for?",
          "what does the KV cache hold?",
          "The KV cache stores the keys and values of past tokens, so old tokens are not computed "
          "again.",
          "keys and values|tokens"),
    _fact("token", "a token|tokens|the tokens",
          "what are tokens?|what does a model read and write?|"
          "what is a token in a language model?|how does a model see text?",
          "into what pieces does a model cut text?",
          "A token is a small piece of text, often a part of a word. Models read and write tokens.",
          "piece of text"),
    _fact("ttft", "TTFT|the TTFT|time to first token|the time to first token",
          "what does TTFT mean?|what does TTFT stand for?|how long until the first token?|"
          "what is the time until the answer begins called?",
          "what does the abbreviation TTFT stand for?",
          "TTFT is the time to first token: how long a client waits until the answer begins.",
          "time to first token"),
    _fact("streaming",
          "streaming|SSE|server-sent events|streaming responses|streaming with SSE|token streaming",
          "how do I stream an answer?|can Forge stream?|does Forge support streaming?|"
          "how does streaming work?|what does stream true do?|can I get the answer piece by piece?",
          "is it possible to stream the answer?",
          "Streaming sends the answer piece by piece as server-sent events while it is generated.",
          "piece by piece|server-sent events"),
    _fact("origin", "the origin of Forge|the history of Forge|Forge's history",
          "where does Forge come from?|who made Forge?|what is the origin of Forge?|"
          "how did Forge begin?|where does the name Forge come from?|who wrote Forge?|"
          "what did Forge grow out of?|who built Forge?|who created Forge?",
          "what was Forge before?|from which project did Forge grow?",
          "Forge grew out of a C++ study project that is also called Forge.",
          "C++ study project"),
    _fact("licence", "the licence|the license|the licence of Forge|Forge's license",
          "which licence does Forge have?|what license is Forge under?|is Forge open source?|"
          "is Forge free?|may I use Forge at work?|under which license is it published?|"
          "can I use Forge for free?",
          "what is Forge licensed under?",
          "Forge is free software under the MIT licence.", "MIT"),
    _fact("language", "the language of Forge|the programming language of Forge",
          "in which language is Forge written?|what language is Forge written in?|"
          "is Forge written in Python?|is Forge written in C++?|"
          "which programming language does Forge use?",
          "what programming language was Forge written in?",
          "Forge is written in Python; the model runs in llama.cpp.", "Python"),
    _fact("worker", "a worker|workers|the workers|a worker process|what workers do",
          "what does a worker do?|what do the workers do?|who does the computing?|"
          "where does the model run?|which process runs the model?",
          "what is the job of a worker?",
          "A worker is a process that runs llama.cpp: it does the computing and never sees a "
          "connection.",
          "process that runs llama.cpp"),
    _fact("gateway", "the gateway|the gateway process|a gateway|the asyncio process",
          "what does the gateway do?|which process owns the connections?|"
          "what is the job of the gateway?|who owns the connections?",
          "what is the gateway process responsible for?",
          "The gateway is the asyncio process: it owns every connection, keeps the queue and "
          "feeds the workers.",
          "asyncio process|queue"),
    _fact("queue", "the queue|the priority queue|the heap|the scheduler|the aging heap",
          "how does the queue work?|in which order are requests served?|"
          "which job is served first?|how are requests ordered?|who goes first?|"
          "how does the scheduler choose?|which request is next?",
          "how does Forge decide which job comes next?",
          "The queue is a heap ordered by priority plus age: the job with the largest sum gets "
          "the next free worker.",
          "heap|priority plus age"),
    _fact("crash", "a worker crash|crashing workers|a dead worker|worker failures",
          "what happens if a worker dies?|what if a worker crashes?|"
          "what happens when a worker crashes?|is a crash of a worker a problem?|"
          "do I lose my request if a worker dies?|how does Forge handle crashes?",
          "what would happen to my request if its worker crashed?",
          "If a worker dies, Forge restarts it and puts its jobs back into the queue: clients see "
          "a pause, not an error.",
          "restarts|queue"),
    _fact("overload", "overload|a full queue|too many requests|being overloaded",
          "what happens when the queue is full?|what if there are too many requests?|"
          "how does Forge handle overload?|what does Forge do under too much load?",
          "what does Forge answer when the queue is full?",
          "When the queue is full, Forge refuses new requests at once and says when to try again.",
          "refuses|try again"),
    _fact("latency", "latency|the latency|latency of a request",
          "what does latency mean?|how is latency defined?|what is the latency of a request?",
          "what do you call the time that a request takes?",
          "Latency is how long one request takes, from sending it to the end of the answer.",
          "how long one request takes"),
    _fact("throughput", "throughput|the throughput|throughput of a server",
          "what does throughput mean?|how is throughput measured?|what is throughput measured in?",
          "what do tokens per second measure?",
          "Throughput is how much work is done per second, for example tokens per second.",
          "per second"),
    _fact("prefill", "prefill|the prefill|prefill and decode|decode|the decode phase",
          "what happens during prefill?|what is the difference between prefill and decode?|"
          "what does decode mean?|how is a prompt computed?",
          "how do prefill and decode differ?",
          "Prefill computes the prompt; decode then makes the answer one token at a time.",
          "prompt|one token at a time"),
    _fact("default_model", "the default model|the embedded model|the default model of Forge",
          "which model does Forge use?|which model is the default?|which model is built in?|"
          "does Forge come with a model?|which model runs here?|can I use another model?",
          "which model comes with Forge?",
          "The default model is forge-tiny, which is me. Any other GGUF model can be served "
          "instead.",
          "forge-tiny|GGUF"),
    _fact("process",
          "a process|a thread|threads|processes|processes and threads|a process in computing",
          "what is the difference between a process and a thread?|"
          "how do processes and threads differ?|do threads share memory?|"
          "do processes share memory?|process or thread?|what is a thread compared to a process?",
          "in what way is a thread different from a process?",
          "A process has its own memory; the threads inside of a process share that memory.",
          "own memory|share"),
    _fact("inference", "inference|model inference|an inference gateway|an inference server",
          "what does inference mean?|what is meant with inference?|is inference I/O or compute?|"
          "what happens during inference?",
          "what does it mean to run inference?",
          "Inference is running a trained model to get an answer. It is computing, not waiting.",
          "running a trained model"),
    _fact("context",
          "the context|the context length|the context window|your context|your context length",
          "how long is your context?|how many tokens can you read?|"
          "how big is your context window?|how much text can you read?|"
          "what is the maximum prompt length?|how long may a prompt be?",
          "how many tokens fit into your context?",
          "My context holds 2048 tokens, prompt and answer together.",
          "2048"),
)  # fmt: skip
