"""Detectors: anchors, targets, losses, augmentation, post-processing, evaluation and graphs, in static shapes."""
