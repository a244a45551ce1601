"""The options, the models and the address of ``forge serve``, looked at as it looks at them."""

import contextlib
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli.doctor import machine
from gateway.cli.doctor.finding import Finding, error, ok, warning
from gateway.config import model_tables, tuning_profile
from gateway.config.api_keys import Keyring
from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError
from gateway.config.sampling_defaults import SamplingCheck
from gateway.config.sources import check_model
from gateway.core.byte_sizes import readable
from gateway.http.listening import bind
from gateway.http.tls import server_context
from gateway.model_files import catalog, gguf, memory_check, memory_fit
from gateway.model_files.memory_probe import MemoryProbe, NotPlanned
from gateway.model_files.source import BadSource, parse
from gateway.served import memory_budget
from gateway.system import host
from gateway.system.paths import NoHome

ASK_S = 3.0


class Settings:
    """The options of ``forge serve``, checked as it checks them. Nothing is downloaded."""

    def __init__(self, given: dict[str, Any], file: Path | None, check: SamplingCheck) -> None:
        """Raises :class:`ConfigError`. ``check`` looks at the models' defaults for sampling."""
        self.absent: list[str] = []
        """Models that ``forge serve`` would download."""
        self.config, self.entries = model_tables.load(given, os.environ, file, check, self._find)
        Keyring.load(self.config.api_key, self.config.api_key_file)
        server_context(self.config.ssl_certfile, self.config.ssl_keyfile)

    def _find(self, text: str) -> Path:
        try:
            source = parse(text)
            if source is None:
                path = Path(text)
                return EMBEDDED_MODEL if text == EMBEDDED_MODEL.stem and not path.exists() else path
            try:
                return catalog.find(text).path
            except ConfigError:  # it would be downloaded
                self.absent.append(text)
                return EMBEDDED_MODEL
        except (BadSource, OSError) as failure:  # also a folder that may not be looked into
            raise ConfigError(f"--model: {failure}") from failure

    def configs(self) -> list[Config]:
        """Return the configuration of each model that is here."""
        found = [each.config for each in self.entries] or [self.config]
        return [] if self.absent else found


def models(settings: Settings) -> Iterator[Finding]:
    """Look at the models' files: is each there, and whole?"""
    for name in settings.absent:
        message = f"{name} is not on this machine"
        yield warning("model", message, f"forge serve downloads it; forge pull {name} does it now")
    for config in settings.configs():
        path = config.model
        try:
            check_model(path)
            model = gguf.read(path)
            gguf.check_whole(path)
        except (ConfigError, gguf.Unreadable) as failure:
            yield error("model", str(failure), "download it again: forge pull, or copy it anew")
            continue
        if path == EMBEDDED_MODEL:
            yield ok("model", "forge-tiny, which is embedded: a real one comes with forge pull")
        else:
            yield ok("model", f"{path}, {readable(model.size)}")
        if config.mlock:
            yield machine.locked(model.size)
    partial, size = [], ""
    with contextlib.suppress(NoHome, OSError):  # which is told with the folders
        partial = catalog.unfinished()
        size = readable(sum(path.stat().st_size for path in partial))
    if partial:
        message = f"{len(partial)} unfinished downloads, {size}"
        advice = "forge pull goes on with each; forge rm --unfinished deletes them"
        yield warning("model", message, advice)


def memory(settings: Settings) -> Iterator[Finding]:
    """Compare the models' needs with the memory that is free."""
    free, total = host.memory_available(), readable(host.total_memory())
    if free is None:
        yield ok("memory", f"{total}; this system does not tell how much is free")
        return
    room = f"{readable(free)} of {total} are free"
    try:
        if settings.absent:
            yield ok("memory", f"{room}; what the models need is told when they are here")
        elif settings.entries:
            plan = memory_budget.plan(settings.config, settings.entries)
            yield ok("memory", f"{room}; {readable(plan.budget)} are the models' budget")
        else:
            yield _one(settings.config, room, free)
    except ConfigError as failure:
        advice = "a smaller quantisation or model: forge pull lists some that fit"
        yield error("memory", f"{room}; {failure}", advice)


def _one(config: Config, room: str, free: int) -> Finding:
    config, _ = tuning_profile.apply(config, os.environ)
    try:
        with MemoryProbe() as probe:
            gpu = memory_check.on_gpu(config)
            wanted = memory_check.wanted_by(config, gguf.read(config.model), probe, gpu=gpu)
            need = wanted.need().total
            refusal, note = memory_fit.refusal(wanted, free), memory_fit.warning(wanted, free)
    except (gguf.Unreadable, NotPlanned) as failure:
        return warning("memory", f"{room}; the model's need is unknown: {failure}", "see above")
    if refusal is not None and not config.force:
        advice = "do one of these, or take a smaller model: forge pull lists some that fit"
        return error("memory", refusal.removesuffix(memory_fit.TRY_ANYWAY), advice)
    if refusal is None and note is not None:
        return warning("memory", f"{room}; {note}", "set --cache-ram as it says")
    return ok("memory", f"{room}; {config.model_name} needs {readable(need)}")


def port(config: Config) -> Finding:
    """Look if the server's address is free."""
    address = f"{config.host}:{config.port}"
    try:
        for sock in bind(config.host, config.port):
            sock.close()
    except ConfigError as failure:
        if _forge_answers(config):
            advice = "it serves already; for another one beside it: --port 0, or a number"
            return warning("port", f"a server answers at {address} as Forge does", advice)
        advice = "another --port (0 takes any free one; below 1024 needs rights) or --host"
        return error("port", str(failure), advice)
    return ok("port", f"{address} is free")


def _forge_answers(config: Config) -> bool:
    """Return whether a server answers /health as ours does."""
    host_name = "127.0.0.1" if config.host in ("0.0.0.0", "::", "localhost") else config.host
    name = f"[{host_name}]" if ":" in host_name and host_name[0] != "[" else host_name
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{name}:{config.port}/health", timeout=ASK_S) as answer:
            return bool(json.loads(answer.read(1 << 12)) == {"status": "ok"})
    except (OSError, ValueError):
        return False
