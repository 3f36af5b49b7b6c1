"""The commands of `soilpipe`, by group. Heavy modules are imported inside commands, so that help comes at once."""
