"""How often lost work is repeated, and how long a stage waits for machines."""

RETRIES = 3  # repetitions of work whose process or machine was lost
ROOM_TIMEOUT = 300.0  # seconds that a cluster has to add a large enough machine
STATUS_INTERVAL = 30.0  # seconds of waiting between looks at the state of the cluster
