"""The sequences that one step can compute: those with the same LoRA adapters."""

import logging
from typing import Protocol

from workers.engine.sequence import EngineSequence
from workers.llama import AdapterFailed, Adapters
from workers.planning.turns import GroupTurns
from workers.protocol import AdapterFile, AdapterLoaded, AdapterSet

log = logging.getLogger("forge.engine")


class Adaptable(Protocol):
    """A context, as far as this module needs it."""

    def adapt(self, adapters: AdapterSet) -> bool: ...


class AdapterGroups:
    """Picks whose turn it is, and gives the context their adapters."""

    def __init__(self, context: Adaptable) -> None:
        self._context = context
        self._turns: GroupTurns[AdapterSet] = GroupTurns()
        # Step lifetime.
        self._present: dict[AdapterSet, list[float]] = {}
        """The base priorities of the sequences that the step could have computed."""
        self._chosen: AdapterSet = ()
        self.changed = False
        """True if the step began with a change of adapters, which took a part of its time."""

    def pick(self, sequences: list[EngineSequence]) -> list[EngineSequence]:
        """Return those of ``sequences`` whose turn it is, in their order."""
        self._present = {}
        for each in sequences:
            self._present.setdefault(each.adapters, []).append(each.request.priority)
        if not self._present:
            return sequences
        self._chosen = self._turns.choose(self._present)
        if len(self._present) == 1:
            return sequences
        return [each for each in sequences if each.adapters == self._chosen]

    def adapt(self) -> None:
        """Have the context compute with the adapters of those that were picked."""
        self.changed = self._context.adapt(self._chosen)

    def spent(self, ms: float, expected_ms: float | None) -> None:
        """The step took ``ms``; ``expected_ms``: what it would have taken without a change."""
        if self.changed and expected_ms is not None:
            self._turns.changed(max(0.0, ms - expected_ms))
        self._turns.spent(self._chosen, ms, self._present)


def load_adapter(adapters: Adapters, file: AdapterFile) -> AdapterLoaded:
    """Load an adapter, and return what the gateway is told of it."""
    try:
        adapters.load(file)
    except AdapterFailed as error:
        log.warning("an adapter is not loaded: %s", error)
        return AdapterLoaded(file.digest, str(error))
    return AdapterLoaded(file.digest)
