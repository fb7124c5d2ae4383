"""The schema of params.yaml, a file for each section, and how it is read. A stage imports its own sections and no
others, so that a new key reruns only the stages that read it. Imports core.
"""
