"""A tree as a process: ``main``, the command line, the logging preset."""
