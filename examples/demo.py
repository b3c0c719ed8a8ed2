"""The demo in one command: ``python3 examples/demo.py``.

Needs Python 3.11 or newer and nothing else: it makes an environment in ``.venv``, installs the project there and runs
``sam2 demo`` with the arguments given here (``--help`` lists them). Later runs start at once.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Sets up, runs ``sam2 demo`` and gives its exit code."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / ".ci" / "environment.py")
    environment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(environment)
    scripts = environment.prepare("demo", ["-e", ".[video]"])
    return subprocess.run([str(scripts / "sam2"), "demo", *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
