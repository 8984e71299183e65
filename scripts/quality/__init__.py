"""Scores over a dataset, thresholds and calibration from them, and what they are worth."""
