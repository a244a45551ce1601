"""The tiers of the tests: each test is in one, by its folder, its file or the servers it uses.

``make check`` runs *unit*: in this process, or in one that ends at once. ``make test`` adds
*server*: real servers, real workers, real sockets. ``make test-all`` adds *slow*: workers that are
killed, benches, browsers, other people's clients, the trainer, fuzzing.
"""

from functools import cache
from pathlib import PurePath
from typing import Final, Literal, get_args

Tier = Literal["unit", "server", "slow"]

SLOW: Final = (
    "bench",
    "browser",
    "chaos",
    "clients",
    "cluster",
    "contract/test_generated_schemas.py",
    "contract/test_schemathesis.py",
    "docs/test_site.py",
    "e2e/test_architectures.py",
    "e2e/test_embeddings.py",
    "e2e/test_fair_share.py",
    "e2e/test_fuzz.py",
    "e2e/test_large_batch.py",
    "e2e/test_overload.py",
    "e2e/test_poison.py",
    "e2e/test_ranking.py",
    "e2e/test_stuck.py",
    "packaging/test_installed.py",
    "postgres",
    "workers/forge_tiny",
    "workers/protocol/test_protocol_fuzz.py",
)
"""Folders and files under tests/."""
SERVER: Final = (
    "contract",
    "deploy",
    "docs/test_examples.py",
    "docs/test_reference.py",
    "e2e",
    "gateway/cli/doctor/test_doctor.py",
    "gateway/cli/test_streams.py",
    "gateway/model_files/test_catalog.py",
    "gateway/model_files/test_choosing.py",
    "gateway/model_files/test_memory_estimate.py",
    "gateway/model_files/test_pull.py",
    "gateway/pool/test_node_files.py",
    "packaging",
    "workers/engine/test_engine_media.py",
    "workers/test_media_worker.py",
    "workers/llama/test_step_shapes.py",  # 600 tokens of nine architectures, again and again
    "workers/llama/test_tokenizer.py",  # random texts in 33 vocabularies
    "workers/media/test_encoder.py",  # two models, and processes that are ended
    "workers/template/test_control_text.py",  # and through all templates
)
LONG: Final = (
    "chaos/test_reload.py",
    "chaos/test_kill_batches.py",
    "packaging/test_installed.py",
    "postgres/test_kill_batches.py",
    "bench/test_lifelike.py",
    "bench/test_concurrency.py",
    "bench/test_observing.py",
    "chaos/test_kill_adapters.py",
)
"""Files that begin first, or the other processes would wait for them at the end."""
SERVERS: Final = frozenset({"server", "exact_server", "start_server", "shared_servers"})
"""Fixtures: a test that uses one is at least in the tier *server*."""
FRONTS: Final = frozenset({"front", "answering"})
"""Fixtures: a gateway in this process, and a tenth of the cases on a real server."""
IN_PROCESS: Final = FRONTS | {"way"}
"""Fixtures that make a contract test a unit test."""


def left_out(path: PurePath, expression: str) -> bool:
    """Return whether no test in ``path`` is meant by an ``expression`` of tiers, as -m has it.

    What is not collected costs nothing: each process of a run imports all files that it looks at.
    """
    tiers = set(expression.split(" or "))
    if not tiers <= set(get_args(Tier)):
        return False
    if "slow" not in tiers:
        return any(path.is_relative_to(each) for each in SLOW)
    if tiers != {"slow"}:
        return False
    return not any(
        path.is_relative_to(each) or PurePath(each).is_relative_to(path) for each in SLOW
    )


def tier(path: PurePath, fixtures: frozenset[str]) -> Tier:
    """The tier of a test in ``path``, which is relative to tests/, that uses ``fixtures``."""
    if _in_one_of(path, SLOW):
        return "slow"
    if fixtures & IN_PROCESS and not fixtures & SERVERS:
        return "unit"
    return "server" if _in_one_of(path, SERVER) or fixtures & SERVERS else "unit"


@cache
def _in_one_of(path: PurePath, places: tuple[str, ...]) -> bool:
    """Return whether a file of tests is one of ``places`` or below one."""
    return any(path.is_relative_to(each) for each in places)
