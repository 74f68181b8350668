"""The method: base models, condition tokens, fine-tuning, exact inversion, translation.

Importing these modules imports torch, diffusers and peft, which takes about ten seconds. The
command line and the child processes do so after checking their input; the widgets never do.
"""
