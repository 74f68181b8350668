"""Baselines that the method is compared with: CycleGAN, PhenDiff, and the source image itself.

A baseline has the same kind of run folder and translates through the same interface as the method,
so that the command line, the widgets, measurements and reports work with it unchanged. Start with
`loading`, which trains and loads runs of any method; importing it does not import torch, unlike the
other modules.
"""
