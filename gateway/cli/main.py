"""The command line: its parser, ``forge serve``, and the way to the other commands."""

import argparse
import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway import __version__
from gateway.cli import completion, console
from gateway.cli.admin import options as admin_options
from gateway.cli.batch import options as batch_options
from gateway.cli.chat import options as talk_options
from gateway.cli.console import Exit
from gateway.cli.doctor import options as doctor_options
from gateway.cli.models import command as model_commands
from gateway.cli.models import options as model_options
from gateway.cli.quantize import options as quantize_options
from gateway.cli.reload import options as reload_options
from gateway.cli.replay import options as replay_options
from gateway.cli.tune import options
from gateway.config import llama_server_compat
from gateway.config.api_keys import Keyring
from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError, NotNow
from gateway.config.llama_server_compat import NotTaken
from gateway.config.llama_server_options import ALIASES, HUB, SWITCHES
from gateway.http.listening import bind, inherited
from gateway.http.tls import server_context
from gateway.model_files import memory_check
from gateway.model_files.resolve import quietly
from gateway.served import cluster_pools, memory_budget
from gateway.served.setup import Sources
from gateway.system import log_setup
from gateway.system.hangup import Hangup
from gateway.system.log_setup import escaped
from gateway.system.service_manager import ServiceManager


def main(argv: Sequence[str] | None = None) -> int:
    """The ``forge`` command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    named = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    return console.main(named, lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    parser = build_parser()
    notes = list[str]()
    if arguments[:1] == ["serve"]:
        try:
            ours, notes = llama_server_compat.translated(arguments[1:])
        except NotTaken as refusal:
            return console.fail("serve", str(refusal))
        arguments = ["serve", *ours]
    given = vars(parser.parse_args(arguments))
    command, file = given.pop("command"), given.pop("config", None)
    if (model := given.pop(MODEL, None)) is not None:
        if "model" in given:
            return console.fail(command, f"--model: expected once, and MODEL is {model}")
        given["model"] = model
    if command in model_options.NAMES:
        return model_commands.run(command, given, file)
    if command == completion.NAME:
        print(completion.script(parser, given["shell"]), end="")
        return Exit.OK
    if command == doctor_options.NAME:
        from gateway.cli.doctor import command as doctor

        with console.interrupted_by(signal.SIGTERM):
            return console.run(
                command, lambda: Exit(doctor.run(given, file, _check_sampling)), refused=()
            )
    if command == quantize_options.NAME:
        from gateway.cli.quantize import command as quantize

        return quantize.run(given)
    if command == reload_options.NAME:
        from gateway.cli.reload import command as reload

        return reload.run(given)
    if command == batch_options.NAME:
        from gateway.cli.batch import command as batch

        return batch.run(given)
    if command in admin_options.NAMES:
        from gateway.cli.admin import command as admin

        return admin.run(command, given)
    if command == replay_options.NAME:
        from gateway.cli.replay import command as replay

        return replay.run(given)
    if command in talk_options.NAMES:
        from gateway.cli.chat import command as talk  # late: it brings an HTTP client

        return talk.run(command, given)
    return tune(given, file) if command == "tune" else serve(given, file, notes)


def _check_sampling(defaults: dict[str, Any]) -> None:
    """A model's defaults are checked as the fields of a request are."""
    from gateway.api.body import SamplingBody, parse  # late: it is much to import

    parse(SamplingBody, defaults)


def serve(given: dict[str, Any], file: Path | None, notes: Sequence[str] = ()) -> int:
    """``forge serve`` with the options ``given`` on the command line; the exit code.

    ``notes`` are about these options.
    """
    console.go_on_without_output()
    # Only while the model is downloaded can it be interrupted: later it has its own handlers.
    return console.run(
        "serve",
        lambda: _serve(given, file, notes),
        refused=(ConfigError,),
        failed=(NotNow,),
        interrupted=model_commands.KEPT,
    )


def _serve(given: dict[str, Any], file: Path | None, remarks: Sequence[str]) -> Exit:
    """Raises :class:`ConfigError`."""
    manager = ServiceManager.taken_from()  # before any child could take it for its own
    manager.status("looks for the model, and downloads it if need be")
    sources = Sources(given, file, _check_sampling, console.obtain, dict(os.environ))
    setup = sources.read()
    config, notes = setup.config, list[str | None](setup.notes)
    log_setup.configure(config.log_level, config.log_format, "%(name)s")
    for remark in remarks:
        _tell(remark, config.log_format)
    tls = server_context(config.ssl_certfile, config.ssl_keyfile)
    cluster_pools.check(setup)
    plan = memory_budget.plan(config, setup.entries) if setup.entries else None
    if plan is None and config.cluster is None:
        notes.append(memory_check.check(config))
    socks = inherited(manager.descriptors) or bind(config.host, config.port)
    for note in filter(None, notes):
        _tell(note, config.log_format)
    hangup = Hangup()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(Exit.OK))  # until the server has its own
    # Late, so that --help and wrong arguments answer at once.
    import uvloop

    from gateway.server import serve

    with contextlib.ExitStack() as stack:
        for sock in socks:
            stack.enter_context(sock)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        again = replace(sources, obtain=quietly)
        work = serve(
            config,
            socks,
            Keyring(setup.keys),
            tls,
            plan=plan,
            manager=manager,
            read=lambda: cluster_pools.checked(again.read()),
            hangup=hangup,
        )
        failure = runner.run(work)
    return Exit.OK if failure is None else console.fail("serve", failure, Exit.FAILED)


def tune(given: dict[str, Any], file: Path | None) -> int:
    """``forge tune``, likewise."""
    from gateway.cli.tune import command  # late: rich takes a while to import

    own = {field.name: given.pop(field.name) for field in fields(options.TuneOptions)}
    return console.run(
        "tune",
        lambda: command.run(given, file, options.TuneOptions(**own)),
        refused=(ConfigError,),
        interrupted="interrupted, nothing was written",
    )


def _tell(note: str, form: log_setup.Format) -> None:
    """Something to know, on stderr; where everything there is JSON, this is too."""
    if form == "json":
        logging.getLogger("forge").warning("%s", note)
    else:
        console.say("serve", note)


MODEL = "model_source"
"""The dest of a model that is said without an option."""


def build_parser() -> argparse.ArgumentParser:
    """Options come from :class:`gateway.config.config.Config`, which is their only list."""
    parser = _Parser(
        prog="forge",
        description="Forge: an inference gateway. Asyncio for I/O, processes for compute, "
        "and a queue that is fair and never starves.",
    )
    parser.add_argument("--version", action="version", version=f"forge {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_command(commands, "serve", "serve a GGUF model over HTTP", "", Config.model_fields)
    tune = _add_command(
        commands,
        "tune",
        "measure the best options for a model on this machine; forge serve then uses them",
        "Options of forge serve that are set here are fixed, the others are searched. ",
        options.SHARED,
    )
    options.add_to(tune)
    show = _add_command(
        commands,
        "show",
        "show the details, capabilities and memory needs of a model",
        "The memory is that of forge serve with the same options. ",
        model_options.SHAPE,
    )
    model_options.add_to(commands, show)
    quantize_options.add_to(commands)
    doctor = _add_command(
        commands,
        doctor_options.NAME,
        "check what forge serve needs on this machine, and say what to do",
        "Exit code 1: forge serve will not work with these options. Nothing is downloaded. ",
        doctor_options.SHARED,
    )
    doctor_options.add_to(doctor)
    talk_options.add_to(commands)
    batch_options.add_to(commands)
    admin_options.add_to(commands)
    replay_options.add_to(commands)
    reload_options.add_to(commands)
    completion.add_to(commands)
    return parser


def _add_command(
    commands: Any, name: str, purpose: str, note: str, options: Iterable[str]
) -> argparse.ArgumentParser:
    """A command with ``options`` of :class:`Config`, which may also be set elsewhere."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=f"{note}Every option can also be set in the environment (--cache-type-k is "
        'FORGE_CACHE_TYPE_K) or in a TOML file (cache-type-k = "f16"). The command line wins over '
        "the environment, the environment over the file.",
    )
    parser.add_argument("--version", action="version", version=f"forge {__version__}")
    parser.add_argument(
        "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="TOML file"
    )
    if "model" in options:
        text = "the same as --model MODEL"
        parser.add_argument(MODEL, nargs="?", metavar="MODEL", help=text, default=argparse.SUPPRESS)
    for option in options:
        _add_option(parser, option, Config.model_fields[option])
    return parser


def _add_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    flag = "--" + name.replace("_", "-")
    text = f"{describe(field)} (default: {default_text(field)})".replace("%", "%%")
    shared: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": name, "help": text}
    if field.annotation is bool:
        on, off = SWITCHES.get(name, ((), ()))
        parser.add_argument(*on, flag, action=argparse.BooleanOptionalAction, **shared)
        for short in off:
            hidden = {**shared, "help": argparse.SUPPRESS}
            parser.add_argument(short, action="store_false", **hidden)
        return
    # Strings: pydantic converts them, by the same rules as those from the environment.
    shared["metavar"] = name.rsplit("_")[-1].upper()
    if name in JOINED:
        shared["action"] = _Joined
    elif name in ("sampling", "redact"):
        shared["action"] = "append"
    others = ALIASES.get(name, ())
    first = [other for other in others if not other.startswith("--")]
    then = [other for other in others if other.startswith("--")]
    on, off = SWITCHES.get(name, ((), ()))
    if off or name == "flash_attn":  # a switch of llama-server's, and a choice here
        shared |= {"nargs": "?", "const": "on"}  # without a value it is on
    if off:
        hidden = {"dest": name, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        parser.add_argument(*off, action="store_const", const="off", **hidden)
    parser.add_argument(*first, *on, flag, *then, **shared)
    if name == "model":
        hidden = {**shared, "help": argparse.SUPPRESS, "type": "hf:{}".format}
        parser.add_argument(*HUB, **hidden)


JOINED = ("adapters", "lora", "lora_scaled", "media_hosts", "override_kv", "override_tensor")
"""Options that may be said several times, each with commas."""
LONG = re.compile(r"(\S{60})\S{140,}")
"""A word of which the beginning will do."""


class _Parser(argparse.ArgumentParser):
    """Repeats what was typed only in a form that is harmless for a terminal."""

    def error(self, message: str) -> NoReturn:
        super().error(LONG.sub(r"\1...", escaped(message)))


class _Joined(argparse.Action):
    """Of an option that may be said several times: all of it, with commas."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, None)
        setattr(namespace, self.dest, values if before is None else f"{before},{values}")


def describe(field: FieldInfo) -> str:
    """Return the option's help, with its values where they are a list."""
    if get_origin(field.annotation) is not Literal:
        return str(field.description)
    return f"{field.description}: {', '.join(get_args(field.annotation))}"


def default_text(field: FieldInfo) -> str:
    """The default as people read it."""
    if field.default == EMBEDDED_MODEL:
        return "the embedded forge-tiny"
    if field.default in (None, (), {}):
        return "none"
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
