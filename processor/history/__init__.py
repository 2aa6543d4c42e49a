"""Events from files, counted by the definition that the stream uses."""
