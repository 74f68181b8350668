"""napari models without Qt: layers and their metadata, links, side by side, jobs.

Everything here works on a `napari.components.ViewerModel`, so it is tested without a screen. The
widgets show what is here and hold no state of their own that must outlive them.
"""
