"""soilpipe: from scans of buried flat-bed scanners to time series of soil invertebrates."""

__version__ = "0.1.0"
