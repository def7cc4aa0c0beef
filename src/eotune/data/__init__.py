"""Readers and splits of overhead images: captions, rasters, synthetic scenes."""
