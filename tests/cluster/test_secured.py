"""A cluster with a token and TLS, as the manifests have it: workers' connections have TLS, too.

Ray reads its environment once in a process: here its processes are started by a command.
"""

import contextlib
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from tests.conftest import Start
from tests.e2e.test_same_text import GREEDY, PROMPTS, alone
from tests.support.killing import whole
from tests.support.ray_nodes import SMALL_STORE, cut, driver_of, parent
from tests.support.server import ForgeServer, environment, eventually, free_port, gone
from tests.support.traffic import Streaming

pytestmark = [pytest.mark.usefixtures("unmeasured"), pytest.mark.timeout(300)]


@pytest.fixture
def secured() -> Iterator[Mapping[str, str]]:
    """The environment of each process of a cluster that asks for a token, and speaks TLS."""
    pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        authority = trustme.CA()
        issued = authority.issue_cert(node_address(), "127.0.0.1", "localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(f"{folder}/own.pem")
        authority.cert_pem.write_to_path(f"{folder}/ca.pem")
        yield {
            "RAY_USE_TLS": "1",
            "RAY_TLS_SERVER_CERT": f"{folder}/own.pem",
            "RAY_TLS_SERVER_KEY": f"{folder}/own.pem",
            "RAY_TLS_CA_CERT": f"{folder}/ca.pem",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }


def node_address() -> str:
    """Return the address that Ray has for this machine: Ray compares it with the certificate's."""
    from ray.util import get_node_ip_address  # late: of an extra

    address: str = get_node_ip_address()
    return address


@contextlib.contextmanager
def head(environ: Mapping[str, str], log: Path) -> Iterator[str]:
    """A head with two CPUs; its address."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += [f"--port={port}", f"--node-ip-address={node_address()}", "--num-cpus=2"]
        command += ["--include-dashboard=false", f"--object-store-memory={SMALL_STORE}"]
        command += [f"--temp-dir={folder}", "--disable-usage-stats"]
        with log.open("wb") as out:
            process = subprocess.Popen(command, env=environment(environ), stdout=out, stderr=out)
        try:
            eventually(lambda: "Ray runtime started" in log.read_text(), "the head runs")
            yield f"{node_address()}:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def test_with_a_token_and_tls(
    start_server: Start,
    exact: tuple[Path, tuple[str, ...]],
    exact_server: ForgeServer,
    secured: Mapping[str, str],
    tmp_path: Path,
) -> None:
    """Texts are those of one machine, also where a connection is cut."""
    model, options = exact
    expected = [alone(exact_server, prompt, **GREEDY) for prompt in PROMPTS]
    with head(secured, tmp_path / "head") as address:
        shape = ("--cluster", address, "--workers", "2", "--slots", "8")
        server = start_server(*shape, *options, model=model, env=secured)
        streams = [Streaming(server, prompt, **GREEDY) for prompt in PROMPTS]
        for stream in streams:
            stream.wait_for(5)
        worker = server.workers()[0]["pid"]
        actor = parent(worker)
        assert b"RAY_USE_TLS=1\0" in Path(f"/proc/{actor}/environ").read_bytes()
        cut(driver_of(server), actor)
        eventually(lambda: gone(worker), "the worker ends with its connection")
        assert [whole(stream) for stream in streams] == expected
        server.stop()
