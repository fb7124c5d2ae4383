"""Work for the tests of queues, which processes of this machine and of a cluster do alike."""


def sums():
    """The records are an item, and then its sums with the answers so far."""

    def records(item):
        total = 0
        while (answer := (yield item + total)) is not None:
            total += answer

    return records


def answer(item, record):
    return record if record < 20 else None


RECORDS = [(3, 3), (3, 6), (3, 12), (3, 24), (5, 5), (5, 10), (5, 20)]  # of the items 3 and 5
