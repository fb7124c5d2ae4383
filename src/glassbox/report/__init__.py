"""The pages that people read. Reads what the stages wrote; computes nothing again. Imports everything but the command
line.
"""
