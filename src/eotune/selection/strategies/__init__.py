"""Ways to choose a subset, one file each: the file's name is the strategy's."""
