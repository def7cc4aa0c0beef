"""Arrays in, numbers out: the figures of an evaluation."""
