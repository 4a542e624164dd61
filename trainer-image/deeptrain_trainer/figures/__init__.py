"""The evaluation as files that a person looks at: tables, curves and contact sheets, as JSON and PNG.

Pure functions: from scores, truth and pictures to the content of files by their path in the artifact. Equal arguments
give equal bytes: no clock, no metadata, one font. They are drawn with Pillow, in some 100 ms altogether.
"""
