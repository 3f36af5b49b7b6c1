"""The second stage: every candidate of a centre-point network is looked at once more, each as large as any other.

The first stage sees all of a scan with few numbers a pixel, so it finds nearly every animal but ranks it badly among
roots, seeds and cast skins. The second spends its whole network on one candidate at a time (a region network as in
"Faster R-CNN", Ren et al. 2015, on crops of one size as in "R-CNN", Girshick et al. 2014): whether it is an animal,
of which taxon, and where its box lies better.

`network`: what answers for a crop. `crops`: how candidates are cut out. `looking`: the stage in detection.
`examples`, `training`: how it is trained.
"""
