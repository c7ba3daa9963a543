"""What is done with what a value holds: select, follow, wait for, and carry into a channel."""
