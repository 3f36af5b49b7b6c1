"""The encoder: what an animal, or a piece of soil, looks like, as one vector of fixed length.

It is the part of a detector's network that reads pixels down to stride 32, with its weights in a folder of their own.
The classifier, the choice of crops to learn from and the gate all compare its vectors; every one of them carries the
encoder's version, since vectors of two encoders have nothing to say to each other.
"""
