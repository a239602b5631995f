// What a frame becomes: rules 9 and 10 of the contract, as OpenCV computes them on uint8. Pure functions of arrays.
import { roundHalfEven } from "./sampling.js";

// An image is {height, width, channels, data}: rows of pixels, RGB, one byte a channel.

/** [height, width] of a frame before its crop. */
export function canvasSize(height, width, spec) {
  if (spec.resize === "stretch") return [spec.height, spec.width];
  const shorter = spec.resize_to ?? Math.max(spec.height, spec.width), least = Math.min(height, width);
  return [height, width].map((side) => Math.max(shorter, Math.floor((2 * side * shorter + least) / (2 * least))));
}

/** A frame, RGB, as the model takes it: resized, cropped at the center, in its channels; a single one for `grouped`. */
export function prepare(image, spec) {
  const [tall, broad] = canvasSize(image.height, image.width, spec);
  const canvas = resize(image, tall, broad, spec.interpolation);
  const top = Math.floor((tall - spec.height) / 2), left = Math.floor((broad - spec.width) / 2);
  const gray = spec.modality !== "rgb", channels = gray ? 1 : 3;
  const out = new Uint8Array(spec.height * spec.width * channels);
  const [first, last] = spec.color_order === "bgr" ? [2, 0] : [0, 2];
  for (let y = 0, to = 0; y < spec.height; y++) {
    for (let x = 0, at = ((y + top) * broad + left) * 3; x < spec.width; x++, at += 3, to += channels) {
      const red = canvas.data[at], green = canvas.data[at + 1], blue = canvas.data[at + 2];
      if (gray) {
        out[to] = (red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15; // OpenCV's COLOR_BGR2GRAY
      } else {
        out[to + first] = red;
        out[to + 1] = green;
        out[to + last] = blue;
      }
    }
  }
  return out;
}

/** The frames of each step -> uint8 (frames, height, width, channels). `held` has what `prepare` gave, by frame. */
export function assemble(steps, held, spec) {
  const size = spec.height * spec.width * spec.channels, out = new Uint8Array(steps.length * size);
  steps.forEach((frames, step) => {
    if (frames.length === 1) return out.set(held.get(frames[0]), step * size);
    frames.forEach((frame, channel) => { // grouped: a channel a frame
      const plane = held.get(frame);
      for (let i = 0, to = step * size + channel; i < plane.length; i++, to += frames.length) out[to] = plane[i];
    });
  });
  return out;
}

/** An image at another size, by OpenCV's interpolation `area`, `linear`, `cubic` or `nearest`. */
export function resize(image, tall, broad, interpolation) {
  const { height, width, channels, data } = image;
  if (height === tall && width === broad) return image;
  const grows = tall > height || broad > width, halved = width === 2 * broad && height === 2 * tall;
  const method = interpolation === "area" && grows ? "grown" : interpolation === "linear" && halved ? "area" : interpolation;
  const fixed = method === "linear" || method === "grown"; // OpenCV computes them in whole numbers, and cuts them off
  const even = method === "area" && width % broad === 0 && height % tall === 0; // there it sums whole pixels, then divides
  const across = taps(width, broad, even ? "sum" : method), down = taps(height, tall, even ? "sum" : method);
  const part = even ? Math.fround((tall * broad) / (height * width)) : 1;
  const out = new Uint8Array(tall * broad * channels), row = new Float32Array(broad * channels);
  const lines = new Map(); // rows of the source, resized across
  for (let y = 0; y < tall; y++) {
    row.fill(0);
    const { from, weights } = down[y];
    for (const old of lines.keys()) if (old < from[0]) lines.delete(old);
    from.forEach((source, k) => {
      if (!lines.has(source)) lines.set(source, resizeRow(data, source * width * channels, across, channels));
      const line = lines.get(source), weight = weights[k];
      if (fixed) for (let i = 0; i < row.length; i++) row[i] += (weight * (line[i] >> 4)) >> 16;
      else for (let i = 0; i < row.length; i++) row[i] += weight * line[i];
    });
    const to = y * row.length;
    if (fixed) for (let i = 0; i < row.length; i++) out[to + i] = (row[i] + 2) >> 2;
    else for (let i = 0; i < row.length; i++) out[to + i] = byte(Math.fround(row[i] * part), halved && even);
  }
  return { height: tall, width: broad, channels, data: out };
}

function resizeRow(data, start, across, channels) {
  const line = new Float32Array(across.length * channels);
  for (let x = 0, to = 0; x < across.length; x++) {
    const { from, weights } = across[x];
    for (let channel = 0; channel < channels; channel++, to++) {
      let sum = 0;
      for (let k = 0; k < from.length; k++) sum += data[start + from[k] * channels + channel] * weights[k];
      line[to] = sum;
    }
  }
  return line;
}

/** For each target pixel of an axis, which source pixels it is made of, and their weights; of linear ones 2048 times. */
function taps(length, target, method) {
  const scale = length / target, inside = (place) => Math.min(Math.max(place, 0), length - 1);
  return Array.from({ length: target }, (_, n) => {
    if (method === "area") return covered(n * scale, Math.min((n + 1) * scale, length));
    if (method === "sum") return { from: Array.from({ length: scale }, (_, k) => n * scale + k), weights: Array(scale).fill(1) };
    if (method === "nearest") return { from: [inside(Math.floor(n * scale))], weights: [1] };
    const place = (n + 0.5) * scale - 0.5;
    let first = Math.floor(place), part = place - first;
    if (method === "cubic") return { from: [-1, 0, 1, 2].map((k) => inside(first + k)), weights: cubic(part) };
    if (method === "grown") { // INTER_AREA that enlarges has fractions of its own
      first = Math.floor(n * scale);
      part = n + 1 - (first + 1) / scale;
      part = part <= 0 ? 0 : part - Math.floor(part);
    }
    return { from: [inside(first), inside(first + 1)], weights: [1 - part, part].map((w) => roundHalfEven(w * 2048)) };
  });
}

/** Source pixels under the stretch from `start` to `stop`, by the part of it that each covers. */
function covered(start, stop) {
  const from = [], weights = [], least = 1e-3; // of a pixel; what is less, OpenCV leaves out
  for (let place = Math.floor(start); place < stop; place++) {
    const part = Math.min(place + 1, stop) - Math.max(place, start);
    if (part > least || from.length === 0 && place + 1 >= stop) {
      from.push(place);
      weights.push(part / (stop - start));
    }
  }
  return { from, weights };
}

/** Weights of the four neighbors, Keys (1981) with a = -0.75, as OpenCV has it. */
function cubic(part) {
  const a = -0.75, near = (x) => ((a + 2) * x - (a + 3)) * x * x + 1, far = (x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return [far(part + 1), near(part), near(1 - part), far(2 - part)];
}

/** A number as a byte: the nearest, halves to the even one, or up. */
function byte(value, up) {
  const rounded = up ? Math.floor(value + 0.5) : roundHalfEven(value);
  return rounded < 0 ? 0 : rounded > 255 ? 255 : rounded;
}
