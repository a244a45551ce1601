"""The dialects as data, so that one suite tests them all.

To add a dialect:

1. A module here with a subclass of :class:`~tests.support.dialects.base.Dialect`. It says where and
   how to ask (``path``, ``field``, ``body``) and reads what comes back: ``answer`` a whole answer,
   ``refusal`` an error, ``chunk``, ``piece``, ``error``, ``ended`` and ``reason`` a stream. The
   defaults are those of server-sent events. ``body`` takes the words of :data:`INFER`'s body
   (``max_tokens``, ``stop``, ``seed``, ``priority`` ...) and writes the dialect's own for them.
2. One instance in :data:`DIALECTS`, below.

Every suite that takes ``DIALECTS``, ``WAYS`` or the fixtures ``dialect`` and ``streamed`` then has
rows for it: ``test_every_dialect.py`` and ``test_every_dialects_ends.py`` first (priority,
deadline, hang-up, 429, failover, keys, metrics), the rest of ``tests/contract/``,
``tests/e2e/test_hang_up.py``, ``tests/e2e/test_scopes.py``, ``tests/chaos/test_kill.py``, and the
fuzzing. A difference that is meant is an attribute of ``Dialect`` (``streams``, ``open_ended``,
``overflow``), not a condition in a test.
"""

from tests.support.dialects.base import DONE, Answer, Dialect, Failure, Told, Way, data_of
from tests.support.dialects.infer import Infer
from tests.support.dialects.llama_server import LlamaServer
from tests.support.dialects.messages import Messages
from tests.support.dialects.ollama import OllamaChat, OllamaGenerate
from tests.support.dialects.openai import Chat, Completions
from tests.support.dialects.responses import Responses

__all__ = [
    "CHAT",
    "COMPLETIONS",
    "DIALECTS",
    "DONE",
    "INFER",
    "LLAMA_SERVER",
    "MESSAGES",
    "OLLAMA",
    "OLLAMA_GENERATE",
    "OPENAI",
    "RESPONSES",
    "WAYS",
    "Answer",
    "Dialect",
    "Failure",
    "Told",
    "Way",
    "data_of",
]

INFER = Infer()
CHAT = Chat()
COMPLETIONS = Completions()
RESPONSES = Responses()
MESSAGES = Messages()
LLAMA_SERVER = LlamaServer()
OLLAMA = OllamaChat()
OLLAMA_GENERATE = OllamaGenerate()
OPENAI: list[Dialect] = [CHAT, COMPLETIONS]
"""Dialects whose streams are chunks of one form."""
DIALECTS: list[Dialect] = [
    *(INFER, *OPENAI, RESPONSES, MESSAGES, LLAMA_SERVER, OLLAMA, OLLAMA_GENERATE),
]
WAYS = [
    Way(dialect, stream)
    for dialect in DIALECTS
    for stream in ([False, True] if dialect.streams else [False])
]
"""Each dialect with whole answers, and with streams where it has them."""
