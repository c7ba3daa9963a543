"""What looks at a tree: the log, metrics, snapshots, readiness. All of it stands on the port."""
