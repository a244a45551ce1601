"""All that a server is made of, as its sources say it: read at the start, and again at a reload."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.config import model_tables, tuning_profile
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.config.sampling_defaults import SamplingCheck
from gateway.core.api_key import ApiKey
from gateway.served import catalog_models


@dataclass(frozen=True, slots=True)
class Setup:
    """Options, models and keys."""

    config: Config
    """The server's; of a server with one model also that model's."""
    entries: tuple[ModelEntry, ...]
    """Models that come and go; none: the one of ``config`` stays loaded."""
    keys: tuple[ApiKey, ...]
    """The keys of --api-key and --api-key-file."""
    notes: tuple[str, ...] = ()
    """Lines that the operator should read."""

    @property
    def models(self) -> tuple[ModelEntry, ...]:
        """Return all models; the first is the default."""
        return self.entries or (ModelEntry(self.config),)


@dataclass(frozen=True, slots=True)
class Sources:
    """The places where a setup is read, each time anew."""

    given: Mapping[str, Any]
    """Options of the command line."""
    file: Path | None
    check_sampling: SamplingCheck
    obtain: Callable[[str], Path] = Path
    """Makes a file of what is given as a model; it may take hours."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def read(self) -> Setup:
        """Read all of them. Raises ConfigError, which names the option and where it was said."""
        config, entries = model_tables.load(
            self.given, self.environment, self.file, self.check_sampling, self.obtain
        )
        keys = tuple(Keyring.load(config.api_key, config.api_key_file))
        if config.catalog and not entries:
            return Setup(config, tuple(catalog_models.without_tables(config)), keys)
        if not entries:
            config, note = tuning_profile.apply(config, self.environment)
            return Setup(config, (), keys, () if note is None else (note,))
        found, notes = list[ModelEntry](), list[str]()
        for entry in entries:
            tuned, note = tuning_profile.apply(entry.config, self.environment)
            found.append(replace(entry, config=tuned))
            notes += [] if note is None else [f"{entry.name}: {note}"]
        notes += catalog_models.clashes(found) if config.catalog else ()
        return Setup(config, tuple(found), keys, tuple(notes))
