"""The tasks of a tree: nurseries, cancel scopes and waiting.

Each module has one part of the way that a death or a stop takes, and the way goes forward:
``_incarnation`` runs a runnable and records how it ended, ``_stopping`` stops the other members,
``_rounds`` starts them again. ``_tree`` has what the tasks keep beside the model, and tells
observers, ``_timers`` makes calls at a later time, ``_watchdog`` reports what does not end,
``_current`` knows which runnable is calling.
"""
