"""``python -m napari_phenldiff`` is ``phenldiff``."""

from __future__ import annotations

import sys

from napari_phenldiff.cli import main

if __name__ == "__main__":
    sys.exit(main())
