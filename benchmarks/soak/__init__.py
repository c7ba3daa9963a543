"""Trees in which everything goes wrong that can, checked against what is guaranteed.

The checks do not rely on what the tree reports: its runnables record when they start and end, and
its watchers what they are given.
"""
