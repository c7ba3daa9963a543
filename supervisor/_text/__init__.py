"""Exceptions and await-stacks, as text and taken apart; and text of others, made fit to be shown.

It is a library of its own, as :mod:`traceback` is: all text is bounded, and nothing that an
exception or a foreign text does can end more than its own description.
"""
