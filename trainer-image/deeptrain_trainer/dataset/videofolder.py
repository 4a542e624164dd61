"""The layout `videoFolder`: as `imageFolder`, of videos. Their frames are the items; all of a video
are of one group and one split.
"""

from .imagefolder import ImageFolder


class VideoFolder(ImageFolder):
    """The layout of one source, told from the names of its folders."""

    @property
    def expected(self) -> str:
        """How a video's path should look."""
        return super().expected.replace("<file>", "<video>")
