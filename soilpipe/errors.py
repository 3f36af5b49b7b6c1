"""The one base class of errors that are meant for people."""

from __future__ import annotations


class SoilpipeError(Exception):
    """An error told to a person without a traceback: it names the file, the value and the remedy."""
