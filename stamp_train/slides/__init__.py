"""Tier 3: what frozen features of whole slides tell about biomarkers and survival, by attention-based MIL.

The protocol is the published one of PathBench-MIL, of the group that the alignment paper comes from: one fixed
train/val/test split a task, ABMIL, ten seeds, external cohorts tested with the same weights. Reading starts at
:mod:`stamp_train.slides.evaluate`.
"""
