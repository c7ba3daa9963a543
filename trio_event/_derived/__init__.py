"""What values that are made of others do: stages of chains, and compositions."""
