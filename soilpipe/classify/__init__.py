"""Which taxon a detected animal is, how sure that is, and what it was told by.

The strategy, in the order of the files:

- `embedding`: the crop round a box, through the encoder;
- `examples`, `labelled_crops`, `false_alarms`: labelled crops as an encoder sees them, with where each is from;
- `space`: embedding and size as one vector, whitened within the classes, what tells none of them apart
  counting less; all distances are cosines in it;
- `prototypes`, `head`: three experts (prototypes, nearest neighbours, a logistic head), each as if all classes were
  equally frequent;
- `calibration`: their mixture, the field's own frequencies, and the temperature, fitted on scanners held out;
- `backoff`, `conformal`, `unknown`: the answer up the taxonomy, the set it may be, and "none of these";
- `classifier`, `weights`: the whole of it, and how it lies on disk;
- `folds`, `training`, `adding`: making one, and adding a class without a training run;
- `evaluation`, `explain`: what it is worth, and the labelled crops that an answer rests on;
- `identifying`: the detector of a run, with a classifier that names what it finds.
"""
