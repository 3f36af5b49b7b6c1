"""An encoder and the classifier on it: judged, promoted and taken back as one."""
