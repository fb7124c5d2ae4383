"""How often lost work is repeated, and how long a stage waits for machines."""

RETRIES = 3  # repetitions of work whose process or machine was lost
ROOM_TIMEOUT = 300.0  # seconds in which a cluster without a machine large enough may get one
STATUS_INTERVAL = 30.0  # seconds of waiting after which the state of the cluster is looked at again
