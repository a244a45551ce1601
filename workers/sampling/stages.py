"""The choice of a token: the stages a request asks for, and the draw for each position. Pure.

The draw for token ``i`` of a completion depends on ``(seed, i)`` alone, not on the draws before
it. So a generation that is resumed on another worker draws the same numbers as if nothing had
happened, and no random state has to travel.
"""

from dataclasses import dataclass

from workers.protocol import INFILL_SAMPLER, SAMPLERS, Sampling

_MASK = (1 << 64) - 1
TINY = 1e-6
"""Dividing a logit by less tells nothing more, and soon leaves float32: from infinities every token
gets the same chance, or none."""


REPEAT_LAST_N = 64
"""llama-server's default for ``repeat_last_n``."""
MOST_FILLING = 128
"""Candidates that the infill stage compares with each other, at quadratic cost: it takes away all
that are less likely than one in five, so those behind the likeliest are of no account."""
POSSIBLE = 1e-30
"""Least probability that typical_p takes a logarithm of, which must not be that of 0: to be so far
behind the best is to be impossible."""
COOLEST = 1e-3
"""The least that a dynamic temperature comes to; colder ones divide logits out of float32."""
KEEP_THE_BEST = frozenset({"top_n_sigma", "top_k", "top_p", "min_p"})
"""Stages that never take away the likeliest token."""
RENEWED = frozenset({"dry", "xtc", "dist"})
"""Stages that are made anew for each position, from (seed, position) and the tokens before it."""


def draw_seed(seed: int, position: int, stage: int = 0) -> int:
    """A 32-bit seed for the draw at ``position``: splitmix64's finaliser over both.

    ``stage`` tells stages apart that draw for the same token: 0 is the choice of the token itself.
    """
    z = seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03 + stage * 0x8CB92BA72F3D8DD7
    z = (z + 0x632BE59BD9B4E019) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    z ^= z >> 31
    # llama.cpp reads 0xFFFFFFFF as "take a random seed".
    return min(z & 0xFFFFFFFF, 0xFFFFFFFE)


@dataclass(frozen=True, slots=True)
class Stage:
    """One sampler of the chain, with its arguments as llama.cpp's function for it takes them.

    Stages that are RENEWED have their seed or biases added when they are made.
    """

    name: str
    arguments: tuple[float, ...] = ()


def stages(sampling: Sampling, *, ignore_eos: bool, window: int) -> list[Stage]:
    """The chain for a request; stages at their neutral value are left out.

    ``window`` is the most tokens that penalties can look back. They count sampled tokens, not the
    prompt's. The last stage chooses the token: "greedy", or "dist", which draws.
    """
    chain: list[Stage] = []
    if ignore_eos:
        chain.append(Stage("ban_eog"))
    if sampling.logit_bias:
        chain.append(Stage("logit_bias"))
    for name in SAMPLERS if sampling.samplers is None else sampling.samplers:
        if name == "penalties":
            chain += _penalties(sampling, window)
        elif name != "temperature":
            chain += _cut(name, sampling)
        elif max(sampling.temperature, sampling.dynatemp_range) >= TINY:
            chain += _temperature(sampling)
        else:
            while chain and chain[-1].name in KEEP_THE_BEST:
                chain.pop()
            return [*chain, Stage("greedy")]
    return [*chain, Stage("dist")]


def _penalties(sampling: Sampling, window: int) -> list[Stage]:
    """One stage if all penalties look back equally far; else the repeat penalty's comes first."""
    asked = sampling.repeat_last_n
    near = _look_back(REPEAT_LAST_N if asked is None else asked, window)
    far = _look_back(-1 if asked is None else asked, window)
    repeat = max(TINY, sampling.repeat_penalty)
    frequency, presence = sampling.frequency_penalty, sampling.presence_penalty
    found = (
        [Stage("penalties", (near, repeat, frequency, presence))]
        if near == far
        else [
            Stage("penalties", (near, repeat, 0.0, 0.0)),
            Stage("penalties", (far, 1.0, frequency, presence)),
        ]
    )
    return [s for s in found if s.arguments[0] and s.arguments[1:] != (1.0, 0.0, 0.0)]


def _look_back(last_n: int, window: int) -> int:
    return window if last_n < 0 else min(last_n, window)


def _cut(name: str, sampling: Sampling) -> list[Stage]:
    """The stages for one of llama-server's names that takes candidates away, or makes them dearer.

    ``min_keep`` is not llama-server's 0 but 1 where it is neutral, which means the same.
    """
    keep = max(1, sampling.min_keep)
    if name == "dry" and sampling.dry is not None:
        return [Stage("dry")]
    if name == "top_n_sigma" and sampling.top_n_sigma > 0:
        return [Stage("top_n_sigma", (max(TINY, sampling.top_n_sigma),))]
    if name == "top_k" and sampling.top_k > 0:
        return [Stage("top_k", (sampling.top_k,))]
    if name == "typ_p" and sampling.typical_p < 1:
        # llama.cpp's entropy is NaN, and this stage another top_p, if a token is impossible.
        return [Stage("min_p", (POSSIBLE, 1)), Stage("typ_p", (sampling.typical_p, keep))]
    if name == "top_p" and sampling.top_p < 1:
        return [Stage("top_p", (sampling.top_p, keep))]
    if name == "min_p" and sampling.min_p > 0:
        return [Stage("min_p", (sampling.min_p, keep))]
    if name == "xtc" and sampling.xtc_probability > 0 and sampling.xtc_threshold <= 0.5:
        return [Stage("xtc", (sampling.xtc_probability, sampling.xtc_threshold, keep))]
    if name == INFILL_SAMPLER:
        return [Stage("top_k", (MOST_FILLING,)), Stage("infill")]
    return []


def _temperature(sampling: Sampling) -> list[Stage]:
    middle, reach = sampling.temperature, sampling.dynatemp_range
    if reach < TINY:
        return [] if middle == 1 else [Stage("temp", (middle,))]
    low, high = max(COOLEST, middle - reach), middle + reach
    arguments = ((low + high) / 2, max(0.0, high - low) / 2, sampling.dynatemp_exponent)
    return [Stage("temp_ext", arguments)]
