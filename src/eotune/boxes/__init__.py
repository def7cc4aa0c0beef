"""Boxes as arrays: corners of oriented ones, the upright ones around them, windows of pixels."""
