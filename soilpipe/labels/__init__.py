"""What to label next, the exchange with labelling tools, and the labels that people made.

The strategy, in the order of the files:

- `records`: what the store keeps: draws of tiles, and what people marked in them, both append-only;
- `sampling`, `suggesting`, `draw`: which tiles are looked at next;
- `pictures`: a tile and its difference from the scans before;
- `interchange`, with `coco`, `cvat`, `label_studio`: writing and reading what labelling tools know;
- `bundle`, `taking`: the folder that a person gets, and taking back what they made of it;
- `taken`: all labels of a store, for training and judging.
"""
