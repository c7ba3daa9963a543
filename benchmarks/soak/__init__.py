"""Trees in which all goes wrong that can, and what is guaranteed all the same.

The tree's own word is not taken for anything: its runnables write down when they begin and end, and
the watchers what they were given, and that is checked against the guarantees as it goes by.
"""
