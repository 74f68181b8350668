"""What the package does, as jobs: train, translate, evaluate, measure, merge, benchmark."""
