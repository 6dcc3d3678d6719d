"""WHETHER: rules over closed vocabularies, and one pure function that decides. Reads no file, clock or socket."""
