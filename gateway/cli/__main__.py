"""``python -m gateway.cli`` is the ``forge`` command."""

import sys

from gateway.cli.main import main

sys.exit(main())
