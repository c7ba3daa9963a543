"""How requests travel: etcd's messages, the seam, and grpcio behind it. It knows no members."""
