"""The engine that runs work on a Ray cluster. The only package that imports ray; it is imported only where needed.

Work is done by Ray actors: Ray places them on machines, sends them what they need, and reports those that are lost.
The machines need only the packages of requirements.lock: code and files of weights are sent as the actors' working
directory, data and networks through Ray's object store.
"""
