"""Work for the tests of queues, which processes of this machine and of a cluster do alike."""


def sums():
    """An item, and then all that it was answered."""

    def records(item):
        total = 0
        while (answer := (yield item + total)) is not None:
            total += answer

    return records
