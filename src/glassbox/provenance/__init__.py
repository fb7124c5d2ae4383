"""What a result was made of: the fingerprint of the code, records of studies, work that a kill does not undo.
Imports core and config.
"""
