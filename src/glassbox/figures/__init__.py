"""Pictures, drawn from the same tables and arrays that the reports hold. The only place where maps are normalised."""
