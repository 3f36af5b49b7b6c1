"""The weekly refresh: what unlabelled scans teach, judged before it is used."""
