"""The docks Fine-tune, Translate, Measure and Evaluate. Qt only, no algorithms.

A widget asks `napari_phenldiff.viewer` what may be chosen and what is wrong with it, starts a job
and shows how it goes. Importing a widget imports neither torch nor diffusers nor peft: opening a
dock takes a moment, not ten seconds.
"""
