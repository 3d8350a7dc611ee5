"""`python launch.py MODULES SCRIPT CONFIG`, in a sandbox: imports, waits to be let on, and runs the script.

Importing torch takes longer than a short training, and how long varies. It is done before any code of the
script runs, and one byte on standard input lets it in: when that byte is taken, our side reads the account.
`MODULES` are further ones that the script needs, with a comma between them. It imports nothing of ours, since
it runs alone in a sandbox.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys


def main(modules: str, script: str) -> None:
    """Run `script` with the arguments that are left."""
    for name in filter(None, ["torch", *modules.split(",")]):
        importlib.import_module(name)
    os.read(0, 1)  # and no more: what follows is the text
    sys.argv = sys.argv[2:]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
