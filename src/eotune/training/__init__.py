"""The one trainer: it runs a method's phases, with checkpoints and resume."""
