"""What changed, in numbers: segmentation, profiles of measurements, statistics and figures."""
