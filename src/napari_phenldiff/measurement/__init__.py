"""Measurements of images: segmentation, profiles, tables, statistics and figures."""
