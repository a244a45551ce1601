"""The check of a model's defaults for sampling, which is that of a request's fields."""

from typing import Any


def check_sampling(defaults: dict[str, Any]) -> None:
    """Raises BadRequest, as a request with these fields would."""
    from gateway.api.body import SamplingBody, parse  # late: it is much to import

    parse(SamplingBody, defaults)
