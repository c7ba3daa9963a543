"""Makes text of exceptions and of stacks, splits exceptions, and makes foreign text printable.

It is a library of its own, as :mod:`traceback` is. All text is bounded. An exception or a foreign
text that can't be shown ends its own description only.
"""
