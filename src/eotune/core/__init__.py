"""What everything else stands on: errors, configuration, names, seeds, files and progress."""
