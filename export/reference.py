import cv2
import numpy as np


def places(n, fps, spec):  # rules 7 and 8
    t, short = spec["frames"], spec["short"]
    stride = max(1, round(spec["interval"] * fps)) if spec["interval"] else spec["stride"]
    needed = (t - 1) * stride + 1
    if n < needed and short == "error":
        raise ValueError(f"{n} frames are too few; {needed} are needed")
    s = n if short == "spread" else max(n, needed)
    if t == 1 or (spec["sampling"] == "dense" and s >= needed):
        found = [(s - needed) // 2 + i * stride for i in range(t)]
    elif spec["sampling"] == "segments":
        found = [i * (s - 1) // (t - 1) if s >= t else 0 for i in range(t)]
    else:
        found = [(2 * i * (s - 1) + t - 1) // (2 * (t - 1)) for i in range(t)]
    return [p % n if short == "wrap" else min(p, n - 1) for p in found]


def read(path, spec):  # rules 5, 9 and 10
    video, frames, high, wide = cv2.VideoCapture(str(path)), [], spec["height"], spec["width"]
    r, method = spec["resize_to"] or max(high, wide), getattr(cv2, "INTER_" + spec["interpolation"].upper())
    while (got := video.read())[0]:
        size, least = got[1].shape[:2], min(got[1].shape[:2])
        tall, broad = [(2 * x * r + least) // (2 * least) for x in size] if spec["resize"] == "fit" else (high, wide)
        frame = cv2.resize(got[1], (broad, tall), interpolation=method)
        frames.append(frame[(tall - high) // 2 :, (broad - wide) // 2 :][:high, :wide])
    clip = np.stack([frames[p] for p in places(len(frames), video.get(cv2.CAP_PROP_FPS), spec)])
    return clip if spec["color_order"] == "bgr" else clip[..., ::-1]
