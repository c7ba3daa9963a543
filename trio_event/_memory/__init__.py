"""Values that are kept in memory."""
