"""The stages one after the other, within a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.cli.tune import plan
from gateway.cli.tune.plan import Result, Setting, Visit

MOST_TURNS = 5
CURVELESS = 0.5
"""The part of a visit with curves that one without takes, about."""
SHARES = {"shape": 0.55, "cache": 0.8, "slots": 1.0}
"""The part of the time at which each stage ends, in their order."""


class VisitFailed(Exception):
    """A setting can't be measured; one line that says why."""


class NothingMeasured(Exception):
    """All settings failed; the reason of the first."""


class Measurer(Protocol):
    """Measures settings."""

    def __call__(self, setting: Setting, *, curves: bool) -> Visit:
        """One measurement; ``curves``: by sizes of batches too. Raises :class:`VisitFailed`."""
        ...


class Teller(Protocol):
    """Shows the progress."""

    def __call__(self, done_s: float, total_s: float, what: str) -> None: ...


@dataclass(frozen=True, slots=True)
class SearchStage:
    """The results of a stage. The incumbent is the first result."""

    name: str
    results: list[Result]
    chosen: Result

    @property
    def gain(self) -> float | None:
        """The output of the chosen one, in terms of the incumbent's; None if that failed."""
        incumbent = self.results[0].output
        return self.chosen.output / incumbent if incumbent else None


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search."""

    stages: list[SearchStage]
    skipped: list[str]
    """Stages for which there was no time."""

    @property
    def chosen(self) -> Result:
        return self.stages[-1].chosen

    @property
    def gain(self) -> float | None:
        """The output of the chosen setting in terms of the cheap rule's.

        A product of ratios, each measured in turns within a stage. None if the rule's failed.
        """
        gain = 1.0
        for stage in self.stages:
            if stage.gain is None:
                return None
            gain *= stage.gain
        return gain


class Search:
    """One search. ``seconds`` is a wish: all of the first stage is measured once at least."""

    def __init__(
        self,
        base: Setting,
        fixed: frozenset[str],
        cores: int,
        measure: Measurer,
        clock: Callable[[], float],
        seconds: float,
        tell: Teller,
        *,
        allow_lossy: bool = False,
    ) -> None:
        """``fixed`` are the options that stay as they are in ``base``, the cheap rule's setting."""
        self._base = base
        self._fixed = fixed
        self._cores = cores
        self._measure = measure
        self._clock = clock
        self._seconds = seconds
        self._tell = tell
        self._allow_lossy = allow_lossy
        self._begin = clock()
        self._cost = 0.0
        """Seconds that a visit without curves takes, going by the longest so far."""

    def run(self) -> Found:
        """Raises :class:`NothingMeasured`."""
        settings = plan.shapes(self._base, self._fixed, self._cores)
        results = self._turns("shape", settings)
        if all(result.failure is not None for result in results):
            raise NothingMeasured(results[0].failure)
        chosen = plan.fastest(results)
        found = Found([SearchStage("shape", results, chosen)], [])
        settings = plan.caches(chosen.setting, self._fixed)
        self._add(
            found,
            "cache",
            settings,
            lambda results: plan.fastest(results, allow_lossy=self._allow_lossy),
        )
        winner = found.chosen
        settings = plan.crowds(winner.setting, self._fixed, winner.visits[-1].cells)
        self._add(found, "slots", settings, plan.enough_slots)
        return found

    def _add(
        self,
        found: Found,
        name: str,
        settings: list[Setting],
        choose: Callable[[list[Result]], Result],
    ) -> None:
        """One more stage, if there is anything to choose, and time."""
        if len(settings) < 2:
            return
        if self._left(SHARES[name]) < self._cost * len(settings):
            found.skipped.append(name)
            return
        results = self._turns(name, settings)
        if results[0].failure is None:  # else the machine is too full for any conclusion
            found.stages.append(SearchStage(name, results, choose(results)))

    def _turns(self, name: str, settings: list[Setting]) -> list[Result]:
        """Everything once, then what is worth it again, as long as the stage has time."""
        results = [Result(setting) for setting in settings]
        going = results
        for turn in range(MOST_TURNS):
            if turn and (len(going) < 2 or self._left(SHARES[name]) < self._cost * len(going)):
                break
            # Back and forth: what slowly changes on the machine shall not favour the last.
            order = going if turn % 2 == 0 else going[::-1]
            for index, result in enumerate(order):
                self._report(f"{name}: {result.setting}", len(order) - index)
                self._visit(result, curves=name == "shape" and turn == 0)
            going = plan.survivors(results)
        return results

    def _report(self, what: str, coming: int) -> None:
        """Tell how far it is; ``coming`` visits there will be at least."""
        done = self._clock() - self._begin
        self._tell(done, max(self._seconds, done + self._cost * coming), what)

    def _visit(self, result: Result, *, curves: bool) -> None:
        begin = self._clock()
        try:
            result.visits.append(self._measure(result.setting, curves=curves))
        except VisitFailed as failure:
            result.failure = str(failure)
        took = self._clock() - begin
        self._cost = max(self._cost, took * CURVELESS if curves else took)

    def _left(self, share: float) -> float:
        """Seconds until that part of the time has passed."""
        return self._begin + share * self._seconds - self._clock()
