// A camera as a video that never ends: the frames of the last seconds, prepared, with their times.
import { assemble, prepare } from "./pixels.js";
import { clipSeconds, sample } from "./sampling.js";
import { drawn } from "./video.js";

const FPS = 30; // of a camera that does not say

/** Starts the camera in a <video>. Returns {clip, stop}; throws an Error with a sentence where there is none. */
export async function openCamera(video, specs) {
  if (!navigator.mediaDevices) throw new Error("The camera needs a page from https:// or from this computer (localhost).");
  const wish = { video: { facingMode: "environment", width: { ideal: 640 } }, audio: false };
  const stream = await navigator.mediaDevices.getUserMedia(wish).catch((error) => {
    const why = error.name === "NotAllowedError" ? "this page may not use it; allow it in the browser" : "there is none";
    throw new Error(`The camera cannot be opened: ${why}.`);
  });
  video.srcObject = stream;
  await video.play();
  const rate = stream.getVideoTracks()[0].getSettings().frameRate || FPS;
  const seconds = clipSeconds(Object.values(specs), rate);
  const kept = []; // {time, frames: input name -> what prepare gave}
  let going = true, seen = -1;
  const take = () => {
    if (!going) return;
    if (video.videoWidth && video.currentTime !== seen) {
      seen = video.currentTime;
      const image = drawn(video, video.videoWidth, video.videoHeight);
      const frames = Object.fromEntries(Object.entries(specs).map(([input, spec]) => [input, prepare(image, spec)]));
      kept.push({ time: seen, frames });
      while (kept[0].time < seen - seconds) kept.shift();
    }
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(take);
    else requestAnimationFrame(take);
  };
  take();
  /** The clip of the last seconds; null until there are enough. */
  const clip = () => {
    if (kept.length < 2 || kept.at(-1).time - kept[0].time < seconds * 0.9) return null;
    const taken = [...kept], fps = (taken.length - 1) / (taken.at(-1).time - taken[0].time);
    return Object.fromEntries(Object.entries(specs).map(([input, spec]) => {
      const held = new Map(taken.map((each, n) => [n, each.frames[input]]));
      return [input, assemble(sample(taken.length, spec, fps), held, spec)];
    }));
  };
  const stop = () => {
    going = false;
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
  return { clip, stop };
}
