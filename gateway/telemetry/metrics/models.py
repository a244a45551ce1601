"""Metrics of models: their states, loads and unloads, and the time that loading took."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import get_args

from gateway.pool.held_files import FileState
from gateway.served.load_policy import Reason, State
from gateway.telemetry.metrics.exposition import Family, series
from gateway.telemetry.metrics.registry import Registry

SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
STATES: tuple[State, ...] = get_args(State)
FILE_STATES: tuple[FileState, ...] = get_args(FileState)
REASONS: tuple[Reason, ...] = get_args(Reason)


class Loads:
    """Counts loads and unloads. Implements :class:`gateway.served.protocols.LoadObserver`."""

    def __init__(self, registry: Registry, names: Sequence[str]) -> None:
        of_model = {"model": names}
        self._loads = registry.counter("model_loads", "Times that a model was loaded", of_model)
        text = "Times that a model could not be loaded"
        self._failures = registry.counter("model_load_failures", text, of_model)
        text = (
            "Times that a model was unloaded: unused for long; for the memory of another, idle or "
            "while requests waited for it; by request"
        )
        labels = {"model": names, "reason": REASONS}
        self._unloads = registry.counter("model_unloads", text, labels)
        text = "Time that it took to load a model"
        self._seconds = registry.seconds("model_load", text, SECONDS, of_model)

    def loaded(self, name: str, took_ns: int) -> None:
        """Count a model that was loaded."""
        self._loads.add((name,))
        self._seconds.of(name).observe(took_ns)

    def failed(self, name: str) -> None:
        """Count a model that could not be loaded."""
        self._failures.add((name,))

    def unloaded(self, name: str, reason: Reason) -> None:
        """Count a model that was unloaded."""
        self._unloads.add((name, reason))


class States:
    """The state of each model.

    Implements :class:`gateway.telemetry.metrics.registry.Collector`.
    """

    def __init__(self, look: Callable[[], Mapping[str, State]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Family]:
        """Yield 1 for the state that each model is in, 0 for the others."""
        samples = [
            (series("forge_model_state", {"model": name, "state": state}), float(state == now))
            for name, now in self._look().items()
            for state in STATES
        ]
        text = "1 for the state that a model is in"
        yield Family("forge_model_state", "gauge", text, samples)


class FileStates:
    """The files of models that are loaded, beside what their names lead to now.

    Implements :class:`gateway.telemetry.metrics.registry.Collector`.
    """

    def __init__(self, look: Callable[[], Mapping[str, FileState]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Family]:
        """Yield 1 for the state that each model's file is in, 0 for the others."""
        samples = [
            (series("forge_model_file_state", {"model": name, "state": state}), float(state == now))
            for name, now in self._look().items()
            for state in FILE_STATES
        ]
        text = "1 for the state of a model's file: the one that is served is unlike it, unless same"
        yield Family("forge_model_file_state", "gauge", text, samples)
