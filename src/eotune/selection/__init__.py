"""Which samples of an image-text set to train on: arrays in, rows out, no model inside."""
