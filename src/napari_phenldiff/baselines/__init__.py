"""What the method is compared with: CycleGAN, PhenDiff, and the source image itself.

A baseline is trained into a run folder like the method, and translates like it, so that the
command line, the widgets, measurements and reports work on it unchanged. `loading` is the door:
importing it imports no torch, the other modules do.
"""
