"""Image classifiers, one file per family: a table of stages, one builder, one source."""
