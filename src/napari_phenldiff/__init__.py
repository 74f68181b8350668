"""Fine-tune a latent diffusion model on two conditions, and see the same cells in the other one.

The public names are listed in ``__init__.pyi`` and loaded when first used, so that
``import napari_phenldiff`` costs milliseconds and imports neither torch nor Qt.
"""

from __future__ import annotations

import lazy_loader

try:
    from napari_phenldiff._version import __version__
except ImportError:  # a source tree that was never built or installed
    __version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
