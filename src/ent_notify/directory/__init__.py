"""Directory sources: who is in the project, from an AAF export or from the host itself."""
