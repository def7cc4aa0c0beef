"""Clusterings of features, their sizes and their classes: arrays in, arrays out, no model inside."""
