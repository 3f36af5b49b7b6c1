"""Detectors: the centre-point network, its training and judging, and detectors that need no training."""
