"""What a result was made from: the fingerprint of the code, records of studies, work that survives a kill. Imports core
and config.
"""
