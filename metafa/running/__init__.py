"""Running a study: the driver on Ray Tune, its workers, proposals of a search, many drivers at once, progress.

It may import every other folder; only the faces, `metafa.api` and `metafa.cli`, import it.
"""
