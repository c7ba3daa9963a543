"""What is asked of a cluster, and which member answers it: requests, tokens, calls, leases."""
