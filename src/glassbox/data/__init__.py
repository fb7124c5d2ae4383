"""Images: where they come from, how they are split, how they are kept and how they reach a device. Imports core, config
and provenance.
"""
