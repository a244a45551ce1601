"""How a token is chosen: the stages a request asks for, and the draw for each position. Pure.

The draw for token ``i`` of a completion depends on ``(seed, i)`` alone, not on the draws before
it. So a generation that is resumed on another worker draws the same numbers as if nothing had
happened, and no random state has to travel.
"""

from dataclasses import dataclass

from workers.protocol import Sampling

_MASK = (1 << 64) - 1
TINY = 1e-6
"""Dividing a logit by less tells nothing more, and soon leaves float32: from infinities every token
gets the same chance, or none."""


def draw_seed(seed: int, position: int) -> int:
    """A 32-bit seed for the draw at ``position``: splitmix64's finaliser over both."""
    z = (seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    z ^= z >> 31
    # llama.cpp reads 0xFFFFFFFF as "take a random seed".
    return min(z & 0xFFFFFFFF, 0xFFFFFFFE)


@dataclass(frozen=True, slots=True)
class Stage:
    """One sampler of llama.cpp's chain, by its name there, with its arguments."""

    name: str
    arguments: tuple[float, ...]


def stages(sampling: Sampling, *, ignore_eos: bool, window: int) -> list[Stage]:
    """The chain for a request, without the final draw; stages at their neutral value are left out.

    ``window`` is how far presence and frequency penalties look back (OpenAI: the whole
    completion); the repeat penalty looks back ``repeat_last_n`` as in llama.cpp. Penalties count
    sampled tokens, not the prompt's. The order is llama.cpp's default.
    """
    chain: list[Stage] = []
    if ignore_eos:
        chain.append(Stage("ban_eog", ()))
    if sampling.repeat_penalty != 1.0 and sampling.repeat_last_n:
        repeat = max(TINY, sampling.repeat_penalty)
        arguments = (float(sampling.repeat_last_n), repeat, 0.0, 0.0)
        chain.append(Stage("penalties", arguments))
    if sampling.presence_penalty or sampling.frequency_penalty:
        arguments = (float(window), 1.0, sampling.frequency_penalty, sampling.presence_penalty)
        chain.append(Stage("penalties", arguments))
    if sampling.temperature < TINY:
        return [*chain, Stage("greedy", ())]
    if sampling.top_k > 0:
        chain.append(Stage("top_k", (float(sampling.top_k),)))
    if sampling.top_p < 1.0:
        chain.append(Stage("top_p", (sampling.top_p,)))
    if sampling.min_p > 0.0:
        chain.append(Stage("min_p", (sampling.min_p,)))
    if sampling.temperature != 1.0:
        chain.append(Stage("temp", (sampling.temperature,)))
    return chain
