"""Pictures and pages for people: overlays of what was found, counts through time, and the report's HTML."""
