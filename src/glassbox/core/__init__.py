"""What every other package may use: errors for users, files that are whole or absent, seeds, progress, words. Imports
nothing else of glassbox.
"""
