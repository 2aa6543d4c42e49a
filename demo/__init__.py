"""`laurel demo` and `laurel dev`: supervisor, event generator, independent truth, live view."""
