"""Two studies, and two classifiers, compared on the same images. Imports explaining, search and what is below them."""
