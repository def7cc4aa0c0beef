"""Recipe to run directory, and what is written there."""
