"""Search for shortcuts: what a class leans on where other classes do not, tested by intervention."""
