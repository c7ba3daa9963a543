"""HTTP/1.1 for what shows a process to the outside. It knows nothing of trees.

It needs the extra ``[inspect]``, which is imported when a server is made.
"""
