"""The evaluation's prompts: what is asked, and what counts as a right answer.

Nothing here is trained: held-out operand pairs, held-out phrasings, and fresh draws where the
right answer depends on the question alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from random import Random

from .corpus import arithmetic, chat, facts, lists, stories, structured, unknown
from .corpus.message import CorpusConversation, Message
from .corpus.wording import upper_first

Check = Callable[[str], bool]
SEED = "forge-tiny evaluation"
LONG_STORY_WORDS = 110


@dataclass(frozen=True)
class Case:
    """One prompt with its check."""

    conversation: CorpusConversation
    check: Check

    @property
    def asked(self) -> str:
        """The last message, for reports."""
        return str(self.conversation.messages[-1]["content"])


def ask(text: str, check: Check, before: list[Message] | None = None) -> Case:
    """A case of one question, after an earlier conversation if there is one."""
    return Case(CorpusConversation([*(before or []), {"role": "user", "content": text}]), check)


def one_of(answers: tuple[str, ...]) -> Check:
    """Exactly one of the reference answers."""
    return lambda reply: reply.strip() in answers


def _cycle(phrasings: tuple[str, ...], number: int) -> str:
    return phrasings[number % len(phrasings)]


def unseen_pairs(op: str) -> Iterator[Case]:
    """Held-out pairs in three everyday phrasings."""
    for a, b in arithmetic.pairs(op, unseen=True):
        for text in (f"What is {a} {op} {b}?", f"{a}{op}{b}", f"how much is {a} {op} {b}"):
            yield ask(text, one_of((arithmetic.answer(op, a, b),)))


def unseen_phrasings(op: str, count: int | None = None) -> Iterator[Case]:
    """Trained pairs in phrasings that are never trained."""
    known = arithmetic.pairs(op, unseen=False)
    chosen = Random(f"{SEED} {op}").sample(known, count) if count else known
    for number, (a, b) in enumerate(chosen):
        text = _cycle(arithmetic.HELD_OUT_EXPRESSION, number).format(e=f"{a} {op} {b}")
        yield ask(text, one_of((arithmetic.answer(op, a, b),)))


def unseen_both(op: str) -> Iterator[Case]:
    """Held-out pairs in held-out phrasings."""
    for number, (a, b) in enumerate(arithmetic.pairs(op, unseen=True)):
        text = _cycle(arithmetic.HELD_OUT_EXPRESSION, number).format(e=f"{a} {op} {b}")
        yield ask(text, one_of((arithmetic.answer(op, a, b),)))


def fact_paraphrases() -> Iterator[Case]:
    """Every held-out question about Forge, typed with and without a capital."""
    for number, (text, fact) in enumerate(facts.held_out()):
        yield ask(upper_first(text) if number % 2 else text.rstrip("?"), one_of(fact.answers))


def fact_keywords() -> Iterator[Case]:
    """The same questions, judged by the key words only."""
    for number, (text, fact) in enumerate(facts.held_out()):
        keys = fact.keys

        def check(reply: str, keys: tuple[str, ...] = keys) -> bool:
            return all(key in reply for key in keys)

        yield ask(upper_first(text) if number % 2 else text.rstrip("?"), check)


def small_talk() -> Iterator[Case]:
    """Held-out greetings, questions about itself, thanks and so on."""
    return (ask(text, one_of(answers)) for text, answers in chat.held_out())


def refusals() -> Iterator[Case]:
    """Questions out of scope."""
    return (ask(text, lambda reply: "I am only forge-tiny" in reply) for text in unknown.HELD_OUT)


def counting() -> Iterator[Case]:
    """Counting to N in held-out phrasings; the longest answer has about 390 tokens."""
    for number, n in enumerate((5, 7, 10, 12, 15, 20, 25, 30, 40, 50, 100)):
        text = _cycle(lists.HELD_OUT_COUNT, number).format(n=n)
        yield ask(text, one_of((lists.counting(1, n),)))


def listing() -> Iterator[Case]:
    """Lists: the right number of different things of the right kind."""
    rng = Random(f"{SEED} lists")
    for number in range(24):
        what, count = rng.choice(list(lists.THINGS)), rng.randint(2, 12)
        pool = set(lists.THINGS[what])

        def check(reply: str, pool: set[str] = pool, count: int = count) -> bool:
            found = re.findall(r"^(\d+)\. (.+)$", reply.strip(), re.MULTILINE)
            words = {word for _, word in found}
            in_order = [int(n) for n, _ in found] == list(range(1, count + 1))
            return in_order and words <= pool and len(words) == count

        yield ask(_cycle(lists.HELD_OUT_SOME, number).format(n=count, w=what), check)


def story(phrasings: tuple[str, ...], least: int, most: int) -> Iterator[Case]:
    """Stories: enough words and a full stop at the end."""

    def check(reply: str) -> bool:
        return least <= len(reply.split()) <= most and reply.strip()[-1:] in '."'

    for text in phrasings:
        for form in (text, upper_first(text) + "!", text + " please"):
            yield ask(form, check)


def json_objects() -> Iterator[Case]:
    """JSON objects with exactly the keys that were asked for."""
    rng = Random(f"{SEED} json")
    for number in range(30):
        keys = rng.sample(structured.KEYS, rng.choice((1, 2, 2, 3)))

        def check(reply: str, keys: list[str] = keys) -> bool:
            try:
                return list(json.loads(reply)) == keys
            except (ValueError, TypeError):
                return False

        phrasing = _cycle(structured.HELD_OUT_OBJECT, number)
        yield ask(phrasing.format(k=structured.joined(keys)), check)


def _tool_draws(count: int) -> Iterator[CorpusConversation]:
    """Fresh conversations in which a tool is called."""
    rng = Random(f"{SEED} tools")
    draws = (structured.with_tools(rng, lambda _: []) for _ in repeat(None))
    return islice((c for c in draws if c.messages), count)


def tool_calls() -> Iterator[Case]:
    """Fresh questions with tools declared: the call's name and arguments must be right."""
    for drawn in _tool_draws(40):
        function = drawn.messages[1]["tool_calls"][0]["function"]

        def check(reply: str, function: dict[str, object] = function) -> bool:
            found = re.fullmatch(r"<tool_call>\n(.*)\n</tool_call>", reply.strip(), re.DOTALL)
            try:
                return found is not None and json.loads(found[1]) == function
            except ValueError:
                return False

        yield Case(CorpusConversation(drawn.messages[:1], drawn.tools), check)


def tool_replies() -> Iterator[Case]:
    """The answer that follows a tool's reply."""
    for drawn in _tool_draws(40):
        expected = (drawn.messages[3]["content"],)
        yield Case(CorpusConversation(drawn.messages[:3], drawn.tools), one_of(expected))


def tools_unfit() -> Iterator[Case]:
    """Tools are declared but the question needs none: the usual answer, no call."""
    offered = [structured.TOOLS[0][0]]
    for text, fact in facts.held_out()[::6]:
        yield Case(
            CorpusConversation([{"role": "user", "content": text}], offered), one_of(fact.answers)
        )


def _history(rng: Random, tokens: int) -> list[Message]:
    """Earlier exchanges of roughly so many tokens, sums and facts only."""
    found: list[Message] = []
    for _ in range(max(1, tokens // 42)):
        found += arithmetic.turns(rng) if rng.random() < 0.4 else facts.turns(rng)
    return found


def after(tokens: int) -> Iterator[Case]:
    """Held-out sums and facts at the end of a conversation of that length."""
    rng = Random(f"{SEED} history {tokens}")
    for text, fact in facts.held_out()[::5]:
        yield ask(text, one_of(fact.answers), _history(rng, tokens))
    for op in "+-":
        for a, b in arithmetic.pairs(op, unseen=True)[::4]:
            right = one_of((arithmetic.answer(op, a, b),))
            yield ask(f"What is {a} {op} {b}?", right, _history(rng, tokens))


def system_prompt() -> Iterator[Case]:
    """Held-out facts under a system prompt that was never trained."""
    system = [{"role": "system", "content": "You are a polite assistant who works for a library."}]
    return (ask(text, one_of(fact.answers), system) for text, fact in facts.held_out()[::3])


GROUPS: dict[str, Callable[[], Iterator[Case]]] = {
    "+ unseen pairs": lambda: unseen_pairs("+"),
    "- unseen pairs": lambda: unseen_pairs("-"),
    "+ unseen pairs and phrasings": lambda: unseen_both("+"),
    "- unseen pairs and phrasings": lambda: unseen_both("-"),
    "+ unseen phrasings": lambda: unseen_phrasings("+", 60),
    "- unseen phrasings": lambda: unseen_phrasings("-", 60),
    "x unseen phrasings (whole table)": lambda: unseen_phrasings("*"),
    "facts, paraphrased (exact)": fact_paraphrases,
    "facts, paraphrased (key words)": fact_keywords,
    "facts, unseen system prompt": system_prompt,
    "small talk, paraphrased": small_talk,
    "refusals": refusals,
    "counting": counting,
    "lists": listing,
    "short stories": lambda: story(stories.HELD_OUT_SHORT, 30, 150),
    "long stories": lambda: story(stories.HELD_OUT_LONG, LONG_STORY_WORDS, 450),
    "JSON objects": json_objects,
    "tool calls": tool_calls,
    "answers from tool replies": tool_replies,
    "no tool fits": tools_unfit,
    "facts and sums after ~150 tokens": lambda: after(150),
    "facts and sums after ~700 tokens": lambda: after(700),
    "facts and sums after ~1500 tokens": lambda: after(1500),
}
