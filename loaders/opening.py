"""A video file, opened; or one sentence that says why it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from loaders.errors import VideoError

# FFmpeg's readers of the files of VIDEO_SUFFIXES, and of bare streams: each reads the one file that it is given. Those
# of playlists (hls, concat, dash), of picture sequences and of session descriptions open what a file names.
_READERS = "asf avi flv gif h264 hevc m4v matroska mov mpeg mpegts mpegvideo ogg".split()

_PICTURES = frozenset(".bmp .jpeg .jpg .png .tif .tiff .webp".split())

NO_FRAME = "it opens and yields no frame: damaged, or a codec (%s) that this OpenCV cannot decode"


def require_file(path: str | Path) -> os.stat_result:
    """What the file system says of a file. Raises VideoError for what is no readable file, or empty."""
    if "\0" in str(path):
        raise VideoError(path, "no file has a null character in its name")
    if not str(path).isascii():
        try:
            str(path).encode("utf-8")
        except UnicodeEncodeError:  # OpenCV would end the process
            raise VideoError(path, "its name is not UTF-8; rename it") from None
    try:
        stat = Path(path).stat()
    except OSError as error:
        raise VideoError(path, f"cannot be read ({error.strerror})") from None
    if not Path(path).is_file():
        raise VideoError(path, "is a folder, not a file" if Path(path).is_dir() else "is not a file")
    if Path(path).suffix.lower() in _PICTURES:  # FFmpeg takes one for a video of one frame
        raise VideoError(path, "is a picture, not a video")
    if stat.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise VideoError(path, "cannot be read (Permission denied)")
    return stat


def trust_no_file() -> None:
    """Has FFmpeg, in this process, read nothing but the file that it is given: for files that come from anybody.

    No protocol is open but `file`, and no container that can name other files, whatever the file is called.
    """
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"protocol_whitelist;file|format_whitelist;{','.join(_READERS)}"


def open_video(path: str | Path, *, decoded: bool = True) -> cv2.VideoCapture:
    """Opens a file for decoding in one thread, or for its packets; release it.

    Raises:
        VideoError: OpenCV cannot open it.
    """
    how = [cv2.CAP_PROP_N_THREADS, 1] if decoded else [cv2.CAP_PROP_FORMAT, -1]
    # Absolute: FFmpeg takes what stands before the colon of "12:30.avi" for a protocol.
    capture = cv2.VideoCapture(str(Path(path).absolute()), cv2.CAP_FFMPEG, how)
    if not capture.isOpened():
        capture.release()
        raise VideoError(path, "is not a video that OpenCV can open")
    return capture


def codec_name(capture: cv2.VideoCapture) -> str:
    """The four characters of an open file's codec; `unknown` where there are none that can be printed."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    name = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)).strip("\0 ")
    return name if name.isprintable() and name else "unknown"


def no_frame(path: str | Path) -> VideoError:
    """What to say of a file that opens and yields no frame."""
    capture = open_video(path)
    codec = codec_name(capture)
    capture.release()
    return VideoError(path, NO_FRAME % codec)
