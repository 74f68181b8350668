"""Evaluate runs: distances, controls, a verdict, and a report on one page."""
