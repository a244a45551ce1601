"""The command line: its parser, and the way to the commands.

Each command imports what it needs when it is called: most of them answer at once.
"""

import argparse
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
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
from gateway.cli.models import options as model_options
from gateway.cli.quantize import options as quantize_options
from gateway.cli.reload import options as reload_options
from gateway.cli.replay import options as replay_options
from gateway.cli.tune import options
from gateway.config.config import EMBEDDED_MODEL, Config, ConfigError
from gateway.config.llama_server_options import ALIASES, HUB, SWITCHES
from gateway.system import collector
from gateway.system.log_setup import escaped


def main(argv: Sequence[str] | None = None) -> int:
    """The ``forge`` command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    named = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    return console.main(named, lambda: _main(arguments))


def _main(arguments: list[str]) -> int:
    parser = build_parser()
    notes = list[str]()
    if arguments[:1] == ["serve"]:
        from gateway.config import llama_server_compat

        try:
            ours, notes = llama_server_compat.translated(arguments[1:])
        except llama_server_compat.NotTaken as refusal:
            return console.fail("serve", str(refusal))
        arguments = ["serve", *ours]
    given = vars(parser.parse_args(arguments))
    command, file = given.pop("command"), given.pop("config", None)
    if (model := given.pop(MODEL, None)) is not None:
        if "model" in given:
            return console.fail(command, f"--model: expected once, and MODEL is {model}")
        given["model"] = model
    if command == "serve":
        with collector.paused():
            from gateway.cli.serve import command as serve

        return serve.run(given, file, notes)
    if command == "tune":
        return tune(given, file)
    return _other(parser, command, given, file)


def _other(
    parser: argparse.ArgumentParser, command: str, given: dict[str, Any], file: Path | None
) -> int:
    """Any command but the two that take all options of a server."""
    if command in model_options.NAMES:
        from gateway.cli.models import command as models

        return models.run(command, given, file)
    if command == completion.NAME:
        print(completion.script(parser, given["shell"]), end="")
        return Exit.OK
    if command == doctor_options.NAME:
        from gateway.cli.doctor import command as doctor
        from gateway.cli.sampling_check import check_sampling

        with console.interrupted_by(signal.SIGTERM):
            return console.run(
                command, lambda: Exit(doctor.run(given, file, check_sampling)), refused=()
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
    from gateway.cli.chat import command as talk

    return talk.run(command, given)


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
