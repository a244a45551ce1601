"""The ``forge`` command, and ``python -m gateway.cli``.

Here nothing of Forge's dependencies is imported: without them the command still says what is
missing, and ``forge doctor`` what to do.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (a checkout may be run by any Python)
    sys.exit("forge: error: Forge needs Python 3.11 or later; this is " + sys.version.split()[0])

from gateway.system import collector


def main() -> int:
    """Run the command line; return the exit code."""
    try:
        with collector.at_start():
            from gateway.cli.main import main as forge
    except ImportError as failure:
        return _without(failure)
    return forge()


def _without(failure: ImportError) -> int:
    """Do what can be done without a module that is missing."""
    if sys.argv[1:2] == ["doctor"]:
        from gateway.cli.doctor import command

        return command.run({"json": "--json" in sys.argv}, None)
    print(f"forge: error: {failure}; forge doctor says what to install", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
