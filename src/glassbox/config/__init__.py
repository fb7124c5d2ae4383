"""What a study may say in params.yaml: a file for each section with all that it allows, and how that is read. A stage
imports its own sections and no others, so that a new key reruns the stages that read it. Imports core.
"""
