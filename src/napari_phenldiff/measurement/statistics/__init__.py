"""Groups of images compared: units, tests, sizes of effects and their intervals."""
