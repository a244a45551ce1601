"""Prompts that are too long: the words about them, which clients recognise, and cuts. Pure."""

ROOM = 1024
"""Tokens kept free for an answer without a limit, or a quarter of the context if that is less."""


def longest_prompt(context: int, limit: int | None) -> int:
    """Return the most tokens of a prompt that is cut, where the answer may have ``limit``."""
    return context - max(1, min(ROOM if limit is None else limit, context // 4))


def overflow_message(what: str, tokens: str, limit: int, param: str | None = None) -> str:
    """Return the text of the error: OpenAI's sentences, and the error's code.

    Clients that shorten a conversation and try again look for "maximum context length is" (litellm,
    crewai, pydantic-ai) or for the code in the text (LangChain). ``what`` the client sent resulted
    in so many ``tokens``, which may be "at least 5000"; ``param`` names the field, if one is too
    long.
    """
    named = "" if param is None else f"'{param}': "
    return (
        f"{named}This model's maximum context length is {limit} tokens. However, your {what} "
        f"resulted in {tokens} tokens{'' if param else ', and the completion needs one at least'}. "
        f"Please reduce the length of the {what}. (context_length_exceeded)"
    )
