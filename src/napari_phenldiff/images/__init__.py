"""What comes in and goes out: images, experiments, intensities, tiles. No torch, no Qt."""
