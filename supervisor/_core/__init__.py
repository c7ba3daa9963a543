"""The model of a supervision tree: its state, and the only code that writes it.

Nothing here waits, runs, cancels or logs anything: the package imports no Trio and no logging, so
everything in it is tested without a loop. It tells in five steps where a reader finds what:

- ``_states``: the states and events, and the two tables ``(state, event) -> state``.
- ``_plan``: what becomes of a group when its tasks are gone, and which plan prevails.
- ``_tree``: trees, groups, nodes and incarnations, as data with questions.
- ``_steps``: one function for each thing that can happen. All writes are here.
- ``_restart``, ``_records``, ``_events``: delays and limits; what is kept of a death; what
  observers are told.

The tasks' side calls a step, and carries out what the step returns::

    outcome = steps.run_ended(incarnation, raised, error, now, fatal=False)
    if outcome is not None and outcome.death is not None:
        action = steps.died(incarnation, crash, outcome.death, share)
        carry_out(group, action, reason)

Rejected:

- A protocol of effects that the model calls (``effects.cancel(run)``). Effects run in the
  middle of a step, so an observer that calls back finds half a step; and a reader has to read all
  of the model to find what has to be done.
- A list of effects as the only answer. Each death would make five objects to say what one action
  and one plan say. Only the events for observers are a queue: they are many, in order, and not for
  the caller.
- Waking as an effect. A model that knows who waits is not pure. The tasks' side wakes those who
  wait for a group or a tree after each step, and they look again.
- One table for ``(state, event, plan)``: 8 x 10 x 7 fields, nearly all of them empty.
"""
