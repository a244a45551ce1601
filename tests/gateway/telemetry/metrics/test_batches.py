from collections import Counter

from gateway.telemetry.metrics.batches import BatchLines


def test_all_series_are_there_from_the_start() -> None:
    counts = Counter[str]()
    metrics = BatchLines(lambda: counts)

    def values() -> dict[str, float]:
        return {name: value for family in metrics.collect() for name, value in family.samples}

    before = values()
    assert set(before.values()) == {0.0}
    counts.update(waiting=5, running=2, completed=7, cancelled=1, retried=3)
    assert values().keys() == before.keys()
    assert values()['forge_batch_lines{state="waiting"}'] == 5
    assert values()['forge_batch_lines_ended_total{end="completed"}'] == 7
    assert values()["forge_batch_line_retries_total"] == 3
