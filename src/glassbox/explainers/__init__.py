"""Attribution methods, one file each, and what they share. Imports models, execution and what is below them."""
