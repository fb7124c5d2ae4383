"""Where work is done: devices, processes of this machine, a Ray cluster. Imports data and what is below it."""
