"""The pool of a model whose workers run on the nodes of a cluster."""

from importlib.util import find_spec

from gateway.config.config import Config, ConfigError
from gateway.config.node_needs import divided
from gateway.core.clock import NANO
from gateway.dispatch.dispatcher import Dispatcher
from gateway.model_files.source import pinned
from gateway.pool import Listener, PlacedPool, Pool
from gateway.pool.cluster.control import FileSources, Need
from gateway.pool.cluster.membership import Cluster
from gateway.pool.cluster.pool import ClusterPool
from gateway.pool.scaling import Demand
from gateway.served.setup import Setup

EXTRA = "pip install 'forge-inference-gateway[ray]'"


def check(setup: Setup) -> None:
    """Raises :class:`ConfigError` for what a cluster can't do."""
    for entry in setup.models:
        _check_workers(entry.config, f"models.{entry.name}: " if setup.entries else "")
    if setup.config.cluster is None:
        return
    if setup.config.catalog:
        raise ConfigError("--cluster: expected no --catalog: it is of this machine's caches")
    if find_spec("ray") is None:
        raise ConfigError(f"--cluster: Ray is not installed: {EXTRA}")


def _check_workers(config: Config, of: str) -> None:
    if config.max_workers is None:
        return
    if config.cluster is None:
        raise ConfigError(f"{of}--max-workers: expected none without --cluster")
    if config.max_workers < config.shape().workers:
        raise ConfigError(f"{of}--max-workers: expected as many as --workers, at least")


def checked(setup: Setup) -> Setup:
    """Return what a reload has read. Raises ConfigError for what a cluster can't do."""
    check(setup)
    return setup


def most(config: Config) -> int:
    """Return how many workers a model may have at a time."""
    return max(config.shape().workers, config.max_workers or 0)


def membership(config: Config) -> Cluster | None:
    """Return what joins the cluster when a pool starts, if the options name one."""
    if config.cluster is None:
        return None
    return Cluster(config.cluster, config.log_level, config.log_format)


def need(config: Config) -> Need:
    """Return what each worker needs of its node."""
    amounts = {name: float(said) for name, said in divided(config.node_resources).items()}
    return Need(
        cpus=amounts.pop("CPU", float(config.shape().threads)),
        gpus=amounts.pop("GPU", 0.0),
        resources=amounts,
        labels=divided(config.node_labels),
        placement=config.node_placement,
    )


def sources(config: Config) -> FileSources:
    """Return the sources by which nodes get the very files that this machine has.

    What was given as a path must be at that path there; so must a projector that lies beside such a
    model. One that came with a repository's model comes with it on nodes, too.
    """
    said, projector = config.sources, config.projector()
    by = said.mmproj or (said.model if said.model.startswith("hf:") else "")
    return FileSources(
        pinned(said.model, str(config.model)),
        None if projector is None else pinned(by, str(projector)),
    )


async def beside(config: Config, pool: Pool) -> bool:
    """Return whether nodes have places for new workers beside those of a pool."""
    if config.force or not isinstance(pool, PlacedPool):
        return config.force
    return await pool.places(need(config)) >= config.shape().workers


def demand(listener: Listener) -> Demand:
    """Return what waits at a dispatcher for slots, but for what is spare."""
    assert isinstance(listener, Dispatcher), "no other gives work to a pool"
    stats = listener.stats
    waiting = [each for each in stats.waiting() if not each.job.spare]
    now = stats.now_ns()
    oldest_ns = max((now - each.arrived_ns for each in waiting), default=0)
    return Demand(len(waiting), oldest_ns / NANO)


def cluster_pool(config: Config, first: int = 0, *, cluster: Cluster) -> ClusterPool:
    """Workers on nodes, as many as what waits at the pool's dispatcher needs.

    ``first`` is the number of the first one.
    """
    return ClusterPool(
        config.worker_spec(),
        config.shape().workers,
        cluster,
        need(config),
        silence_s=config.stuck_timeout,
        step_s=config.step_timeout,
        most=config.max_workers,
        demand=demand,
        first=first,
        sources=sources(config),
    )
