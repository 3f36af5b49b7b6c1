"""Self-supervised pretraining: which crops of the unlabelled scans are learned from, and the learning itself."""
