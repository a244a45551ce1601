"""Metrics of models: their states, loads and unloads, and the time that loading took."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import get_args

from gateway.pool import FileState
from gateway.served.load_policy import Reason, State
from gateway.telemetry.metrics.exposition import Family, series
from gateway.telemetry.metrics.registry import Registry

SECONDS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
STATES: tuple[State, ...] = get_args(State)
FILE_STATES: tuple[FileState, ...] = get_args(FileState)
REASONS: tuple[Reason, ...] = get_args(Reason)


class ModelLabels:
    """The values of the label ``model``: names of models, and one for all that have none."""

    def __init__(self, names: Sequence[str], others: str | None = None) -> None:
        """``others``: the label of models that are not known at the start, if there may be any."""
        self.names = list(names)
        """Labels of models that are known: at the start, or since a reload."""
        self.all = [*names, *([] if others is None or others in names else [others])]
        self._others = others
        self.on_new: Callable[[str], None] = lambda name: None
        """Called with the name of a model that is known from now on."""

    def of(self, model: str) -> str:
        """Return the label of a model by its name."""
        return model if self._others is None or model in self.names else self._others

    def add(self, model: str) -> None:
        """Know one model more, which an operator has configured."""
        if model not in self.names:
            self.names.append(model)
            if model not in self.all:
                self.all.append(model)
                self.on_new(model)


class Loads:
    """Counts loads and unloads. Implements :class:`gateway.served.protocols.LoadObserver`."""

    def __init__(self, registry: Registry, labels: ModelLabels) -> None:
        self._labels = labels
        names = labels.all
        of_model = {"model": names}
        self._loads = registry.counter("model_loads", "Times that a model was loaded", of_model)
        text = "Times that a model could not be loaded"
        self._failures = registry.counter("model_load_failures", text, of_model)
        text = (
            "Times that a model was unloaded: unused for long; for the memory of another, idle or "
            "while requests waited for it; by request"
        )
        by_reason = {"model": names, "reason": REASONS}
        self._unloads = registry.counter("model_unloads", text, by_reason)
        text = "Time that it took to load a model"
        self._seconds = registry.seconds("model_load", text, SECONDS, of_model)

    def known(self, name: str) -> None:
        """Have series for one model more."""
        self._labels.add(name)

    def loaded(self, name: str, took_ns: int) -> None:
        """Count a model that was loaded."""
        label = self._labels.of(name)
        self._loads.add((label,))
        self._seconds.of(label).observe(took_ns)

    def failed(self, name: str) -> None:
        """Count a model that could not be loaded."""
        self._failures.add((self._labels.of(name),))

    def unloaded(self, name: str, reason: Reason) -> None:
        """Count a model that was unloaded."""
        self._unloads.add((self._labels.of(name), reason))


class States:
    """The state of each model.

    Implements :class:`gateway.telemetry.metrics.registry.Collector`.
    """

    def __init__(
        self, labels: ModelLabels, look: Callable[[], Iterable[tuple[str, State]]]
    ) -> None:
        """``look`` gives models by their names, each with its state."""
        self._labels = labels
        self._look = look

    def collect(self) -> Iterator[Family]:
        """Yield 1 for the state that each model is in, 0 for the others."""
        text = "1 for the state that a model is in; of models with one label, how many are"
        yield _counted("forge_model_state", text, self._labels, STATES, self._look())


class FileStates:
    """The files of models that are loaded, beside what their names lead to now.

    Implements :class:`gateway.telemetry.metrics.registry.Collector`.
    """

    def __init__(
        self, labels: ModelLabels, look: Callable[[], Iterable[tuple[str, FileState]]]
    ) -> None:
        self._labels = labels
        self._look = look

    def collect(self) -> Iterator[Family]:
        """Yield 1 for the state that each model's file is in, 0 for the others."""
        text = "1 for the state of a model's file: the one that is served is unlike it, unless same"
        yield _counted("forge_model_file_state", text, self._labels, FILE_STATES, self._look())


def _counted(
    name: str,
    text: str,
    labels: ModelLabels,
    states: Sequence[str],
    found: Iterable[tuple[str, str]],
) -> Family:
    """Return how many models of each label are in each state."""
    counts = Counter((labels.of(model), state) for model, state in found)
    samples = [
        (series(name, {"model": label, "state": state}), float(counts[label, state]))
        for label in labels.all
        for state in states
    ]
    return Family(name, "gauge", text, samples)
