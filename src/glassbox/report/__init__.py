"""The HTML pages and the model card, from the files of the stages."""
