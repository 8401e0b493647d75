"""Pictures of a trace, drawn with matplotlib. Importing this package imports no matplotlib."""
