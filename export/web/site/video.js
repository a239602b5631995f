// Frames out of a video file. Two ways, one interface: {count, fps, seconds, exact, frames(wanted)}.
// H.264 in MP4 and MOV is decoded by WebCodecs: every frame is known by its number. All else that the browser plays is
// sought in a <video>, at times that its frame rate gives.
import { fromCanvas, toRgb, turned } from "./colors.js";
import { readFrameTable } from "./mp4.js";

/** Opens a file, a Blob; throws an Error with a sentence for the user where this browser cannot. */
export async function openVideo(file) {
  const table = await readFrameTable(file);
  const shown = table?.samples.filter((sample) => sample.shown).map((sample) => sample.time).sort((a, b) => a - b);
  if (table?.codec && shown.length && typeof VideoDecoder !== "undefined") {
    const config = { codec: table.codec, description: table.description };
    const support = await VideoDecoder.isConfigSupported(config).catch(() => ({ supported: false }));
    if (support.supported) return decoded(file, table, shown, config);
  }
  return sought(file, shown?.length ? { times: shown, fps: table.fps } : null);
}

function decoded(file, table, shown, config) {
  const number = new Map(shown.map((time, n) => [time, n]));
  /** Yields [number, image] of each wanted frame, in rising order. */
  async function* frames(wanted) {
    const wish = new Set(wanted), last = Math.max(...wanted), ready = [];
    let failed = null, wake = () => {};
    const decoder = new VideoDecoder({
      output: (frame) => (ready.push(frame), wake()),
      error: (error) => ((failed = error), wake()),
    });
    decoder.configure(config);
    const feeding = feed(decoder, file, table.samples, shown[Math.min(...wanted)]);
    let more = true, left = wish.size;
    try {
      while (left) {
        if (failed) throw new Error(`The video is damaged: it cannot be decoded (${failed.message}).`);
        if (ready.length) {
          const frame = ready.shift(), n = number.get(frame.timestamp);
          try {
            if (wish.delete(n)) {
              const image = turned(await pixels(frame, table.colors), table.rotation);
              left--;
              yield [n, image];
            }
          } finally {
            frame.close();
          }
          if (n >= last) break;
        } else if (more && decoder.decodeQueueSize < 8) {
          more = !(await feeding.next()).done;
        } else if (more || decoder.decodeQueueSize) {
          await new Promise((resolve) => ((wake = resolve), setTimeout(resolve, 20)));
        } else if (!ready.length) {
          throw new Error(`The video is damaged: ${left} of its frames cannot be decoded.`);
        }
      }
    } finally {
      ready.forEach((frame) => frame.close());
      if (decoder.state !== "closed") decoder.close();
    }
  }
  return { count: shown.length, fps: table.fps, seconds: shown.length / table.fps, exact: true, frames };
}

/** Gives a decoder sample by sample, from the key frame that `time` needs. */
async function* feed(decoder, file, samples, time) {
  let start = samples.findIndex((sample) => sample.key);
  samples.forEach((sample, n) => { if (sample.key && sample.time <= time) start = Math.max(start, n); });
  for (const { offset, size, key, time } of samples.slice(Math.max(0, start))) {
    const data = await file.slice(offset, offset + size).arrayBuffer();
    if (decoder.state === "closed") return;
    decoder.decode(new EncodedVideoChunk({ type: key ? "key" : "delta", timestamp: time, data }));
    yield;
  }
  await decoder.flush().catch(() => {}); // what fails is said by `error`
}

/** A VideoFrame as an image, by the planes where they are 4:2:0 of 8 bits, else by a canvas. */
async function pixels(frame, colors) {
  const { width, height } = frame.visibleRect;
  if (frame.format !== "I420" && frame.format !== "NV12") return drawn(frame, width, height);
  const data = new Uint8Array(frame.allocationSize()), layout = await frame.copyTo(data);
  const plane = (n, first = 0, step = 1) => ({ data, offset: layout[n].offset + first, stride: layout[n].stride, step });
  const chroma = frame.format === "I420" ? { u: plane(1), v: plane(2) } : { u: plane(1, 0, 2), v: plane(1, 1, 2) };
  return toRgb({ y: plane(0), ...chroma }, height, width, colors);
}

let canvas = null;

/** What a canvas shows of a VideoFrame or a <video>, as an image. */
export function drawn(source, width, height) {
  canvas ??= document.createElement("canvas");
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return fromCanvas(context.getImageData(0, 0, width, height).data, height, width);
}

async function sought(file, table) {
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, preload: "auto" });
  video.src = URL.createObjectURL(file);
  await happens(video, "loadeddata").catch(() => {
    throw new Error(`This browser cannot play ${file.name || "the video"}. MP4 with H.264 plays in every browser.`);
  });
  const length = Number.isFinite(video.duration) ? video.duration : await findEnd(video);
  const fps = table?.fps ?? (await measureRate(video)), count = table?.times.length ?? Math.max(1, Math.round(length * fps));
  const time = (n) => (table ? table.times[n] / 1e6 : n / fps) + 0.5 / fps; // the middle of the frame
  async function* frames(wanted) {
    for (const n of [...new Set(wanted)].sort((a, b) => a - b)) {
      const there = happens(video, "seeked");
      video.currentTime = Math.min(time(n), Math.max(0, length - 0.001));
      await there;
      yield [n, drawn(video, video.videoWidth, video.videoHeight)];
    }
  }
  return { count, fps, seconds: count / fps, exact: Boolean(table), frames };
}

function happens(video, event) {
  return new Promise((resolve, reject) => {
    video.addEventListener(event, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error("the video cannot be played")), { once: true });
  });
}

/** The length of a file that does not say it, as those that browsers record. */
async function findEnd(video) {
  const known = happens(video, "durationchange");
  video.currentTime = 1e7;
  await known;
  return Number.isFinite(video.duration) ? video.duration : video.currentTime;
}

/** Frames a second, by the times of the first frames that a <video> shows; 30 where the browser does not tell them. */
async function measureRate(video) {
  if (!video.requestVideoFrameCallback) return 30;
  const times = [];
  const watch = (_, { mediaTime }) => (times.push(mediaTime), video.requestVideoFrameCallback(watch));
  video.requestVideoFrameCallback(watch);
  await video.play().catch(() => {});
  for (let waited = 0; times.length < 16 && waited < 1500 && !video.ended; waited += 50) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  video.pause();
  return rateOf(times);
}

const RATES = [24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60000 / 1001, 60];

/** Frames a second by the times of some frames, seconds, rising; frames between may lack. */
export function rateOf(times) {
  const steps = times.slice(1).map((time, n) => time - times[n]).filter((step) => step > 1e-3).sort((a, b) => a - b);
  const step = steps[Math.floor(steps.length / 4)], length = times.at(-1) - times[0]; // frames that lack make long steps
  if (!step) return 30;
  const rate = Math.min(240, Math.round(length / step) / length); // Matroska rounds times to milliseconds
  const usual = RATES.reduce((best, each) => (Math.abs(each - rate) < Math.abs(best - rate) ? each : best));
  return Math.abs(usual - rate) < 0.005 * rate ? usual : rate;
}
