"""The tables of a measurement and their files."""
