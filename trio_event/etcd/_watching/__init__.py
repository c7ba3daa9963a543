"""How a client follows ranges of keys: one stream for all, and how fresh what it says is."""
