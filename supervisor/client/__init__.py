"""What the command line says to a running service, and how it shows the answers (S38).

It is another process than the service. It talks HTTP with the inspector there, and imports neither
Trio nor anything of a tree.
"""
