"""Usage as it is added up: by key, model and hour. Pure."""

from typing import Literal, NamedTuple

from gateway.core.periods import DAY_S, HOUR_S

Step = Literal["hour", "day"]
STEP_S = {"hour": HOUR_S, "day": DAY_S}


class UsageKey(NamedTuple):
    """The subject of a sum."""

    owner: str
    """The key's name; "" on a server without keys."""
    model: str
    hour: int
    """Since the beginning of 1970, in UTC."""


class UsageCounts(NamedTuple):
    """Requests that ended, and tokens."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    """The part of the prompts that was not computed."""
    output: int = 0

    def plus(self, other: "UsageCounts") -> "UsageCounts":
        """Return the sums of both."""
        requests, prompt, cached, output = other
        return UsageCounts(
            self.requests + requests,
            self.prompt + prompt,
            self.cached + cached,
            self.output + output,
        )


NOTHING = UsageCounts()


class UsageQuestion(NamedTuple):
    """A question about usage."""

    step: Step
    since: int
    """The first hour."""
    until: int
    """The hour after the last one."""
    owner: str | None = None
    """The only key, by its name; None: all."""
    model: str | None = None
    """The only model; None: all."""
    limit: int = 1000
    """The most sums, of which the newest are given."""


class UsageSum(NamedTuple):
    """A sum over an hour or a day."""

    at: int
    """The step's first hour."""
    owner: str
    model: str
    counts: UsageCounts
