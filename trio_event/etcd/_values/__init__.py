"""Values whose data are in a cluster: how they are decoded, kept, and written."""
