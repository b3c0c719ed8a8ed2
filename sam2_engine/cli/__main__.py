"""``python -m sam2_engine.cli`` is ``sam2``."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
