"""Everything by which a clock or a person starts work: the command line, `serve`, schedules, the demo."""
