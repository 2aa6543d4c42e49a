"""`laurel demo` and `laurel dev`: processes, event generator, independent oracle, live view."""
