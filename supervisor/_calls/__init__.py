"""What users call: in a runnable, with a handle or a pool, and to run a tree."""
