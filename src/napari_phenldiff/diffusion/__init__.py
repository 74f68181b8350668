"""The method: base models, condition tokens, fine-tuning, exact inversion, translation.

Importing these modules imports torch, diffusers and peft (about ten seconds): the command line and
the child processes do so once their input has been checked, the widgets never.
"""
