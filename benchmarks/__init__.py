"""How fast the packages are, against the same work by hand and against others' packages.

``python -m benchmarks`` measures, ``python -m benchmarks.soak`` runs trees and checks guarantees.
``CONTRIBUTING.md`` has the sessions of nox that run them.
"""
