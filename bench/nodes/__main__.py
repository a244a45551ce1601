"""``python -m bench.nodes``: a page into bench/results."""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich.console import Console

from bench.environment import commit, machine
from bench.nodes.measure import Round, at_rest, play
from bench.scheduler.measure import percentile
from bench.scheduler.report import Table
from bench.server import Server

RESULTS = Path(__file__).parent.parent / "results"
STORE = 80 << 20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.nodes", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(arguments)
    from ray.cluster_utils import Cluster  # late: an extra

    load = os.getloadavg()[0]
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    shape = ["--model", str(options.model), "--workers", "1", "--slots", "8"]
    shape += ["--threads", str(options.threads), "--repack", "on", "--flash-attn", "on"]
    try:
        cluster.add_node(num_cpus=options.threads, object_store_memory=STORE)
        with tempfile.TemporaryDirectory() as folder:
            local = Server(*shape, "--no-spare", log=Path(folder) / "local")
            nodes = Server(*shape, "--cluster", cluster.address, log=Path(folder) / "nodes")
            try:
                table = asyncio.run(measure(local, nodes, options))
            finally:
                nodes.stop()
                local.stop()
    finally:
        cluster.shutdown()
    Console().print(table.rich())
    facts = machine()
    preface = (
        f"# What a cluster costs\n\n{datetime.now(UTC):%Y-%m-%d}, {facts['cpu']}, "
        f"{facts['cores']} cores, {facts['system']}, Forge {commit()}, {options.model.name}, "
        f"{options.threads} threads, `--repack on --flash-attn on`. The "
        "node is on this machine, so the driver, the actor and Ray's own processes take their CPU "
        f"from the same cores. Before it the load was {load:.1f}. `python -m bench.nodes`.\n"
    )
    (options.out / "nodes.md").write_text("\n".join([preface, table.markdown()]), "utf-8")


async def measure(local: Server, nodes: Server, options: argparse.Namespace) -> Table:
    """Play rounds at both in turns; what else the machine does in a round concerns both."""
    rows = []
    servers = (("local", local), ("node", nodes))
    rest = {name: await at_rest(server) for name, server in servers}
    for streams in options.streams:
        found: dict[str, list[Round]] = {name: [] for name, _ in servers}
        for number in range(-1, options.rounds):
            for name, server in servers:
                played = await play(server, streams, options.tokens, f"{number} {streams}")
                played.rest_s = rest[name] * played.seconds
                if number >= 0:
                    found[name].append(played)
        rows += [_row(streams, name, rounds, found["local"]) for name, rounds in found.items()]
    header = [
        "streams", "worker", "tokens/s", "of local", "TTFT p50, ms", "added", "ITL p50, ms",
        "added", "frames/s", "link's CPU, ms a frame", "without that at rest",
    ]  # fmt: skip
    note = (
        "Medians of the rounds, and means of the link's CPU; ratios and differences are those of "
        "the same round. The link is the driver and the actor, which take "
        f"{1000 * rest['node']:.1f} ms of CPU a second at rest."
    )
    return Table("A worker on a node against a local one", note, header, rows)


def _row(streams: int, name: str, rounds: list[Round], base: list[Round]) -> list[str]:
    pairs = list(zip(rounds, base, strict=True))
    frames = sum(each.frames for each in rounds)

    def added(values: Callable[[Round], list[float]]) -> float:
        return median(percentile(values(a), 0.5) - percentile(values(b), 0.5) for a, b in pairs)

    return [
        str(streams), name,
        f"{median(each.rate for each in rounds):.1f}",
        f"{median(a.rate / b.rate for a, b in pairs):.3f}x",
        f"{median(percentile(each.ttft_ms, 0.5) for each in rounds):.1f}",
        f"{added(lambda each: each.ttft_ms):+.1f}",
        f"{median(percentile(each.itl_ms, 0.5) for each in rounds):.2f}",
        f"{added(lambda each: each.itl_ms):+.2f}",
        f"{median(each.frames / each.seconds for each in rounds):.0f}",
        f"{1000 * sum(each.link_cpu_s for each in rounds) / frames:.2f}",
        f"{1000 * sum(each.link_cpu_s - each.rest_s for each in rounds) / frames:.2f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
