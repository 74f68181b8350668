"""Pieces that the three docks are put together from."""
