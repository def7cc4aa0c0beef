"""Search an archive of images by words or by example: tiles, the index, exact search."""
