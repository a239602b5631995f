// Which frames make a clip: rules 5 to 8 of the contract (export/README.md of clipzoo), as loaders/sampling.py has them.
// Pure functions of numbers; all of them start at 0.

/** Frames that one picture is made of. */
export const groupOf = (spec) => (spec.modality === "grouped" ? 3 : 1);

/** The nearest whole number, halves to the even one, as Python rounds. */
export function roundHalfEven(value) {
  const below = Math.floor(value), rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** Frames from one step of a dense sampling to the next; 1 for the others. */
export function strideOf(spec, fps) {
  if (spec.sampling !== "dense") return 1;
  return spec.interval === null ? spec.stride : Math.max(1, roundHalfEven(spec.interval * fps));
}

/** For each step of a clip the frames that it is made of, out of `count`. Throws where the contract refuses. */
export function sample(count, spec, fps) {
  const group = groupOf(spec), steps = spec.frames;
  if (spec.pairs === "sampled") {
    const single = { ...spec, modality: "rgb", pairs: "neighbors", frames: steps + group - 1 };
    const taken = sample(count, single, fps).map(([frame]) => frame);
    return Array.from({ length: steps }, (_, i) => taken.slice(i, i + group));
  }
  const stride = strideOf(spec, fps);
  const places = Math.max(1, count - group + 1);
  const needed = spec.sampling === "segments" ? steps : (steps - 1) * stride + 1;
  const refused = spec.short === "error" ? places < needed : spec.short === "spread" && count < group;
  if (refused || (spec.short === "error" && count < group)) {
    throw new Error(`The video has too few frames: ${count}. This model needs ${needed + group - 1}.`);
  }
  const ticks = places < needed && spec.short !== "spread" ? needed : places; // where a step can begin
  const element = (place) => {
    const first = spec.short === "wrap" ? place % places : Math.min(place, places - 1);
    return Array.from({ length: group }, (_, ahead) => Math.min(first + ahead, count - 1));
  };
  return starts(ticks, spec, stride, needed).map(element);
}

function starts(ticks, spec, stride, needed) {
  const steps = spec.frames, each = (place) => Array.from({ length: steps }, (_, i) => place(i));
  if (spec.sampling === "dense" && ticks >= needed) {
    const first = Math.floor((ticks - needed) / 2);
    return each((i) => first + i * stride);
  }
  if (spec.sampling === "segments" && ticks < needed) return each(() => 0);
  if (steps === 1) return [Math.floor((ticks - 1) / 2)];
  if (spec.sampling === "segments") return each((i) => Math.floor((i * (ticks - 1)) / (steps - 1)));
  return each((i) => Math.floor((2 * i * (ticks - 1) + steps - 1) / (2 * (steps - 1))));
}

/** Windows that slide over `count` frames: [start, stop] of each, stop excluded, the last one reaching the end. */
export function windows(count, length, stride) {
  if (count <= length) return [[0, count]];
  const found = [];
  for (let start = 0; start + length <= count; start += stride) found.push([start, start + length]);
  if (found.at(-1)[1] < count) found.push([count - length, count]);
  return found;
}

/** How long a clip of a model is, seconds: that of dense sampling, or 2 where a clip is whatever one gives it. */
export function clipSeconds(specs, fps) {
  const dense = specs.filter((spec) => spec.sampling === "dense").map((spec) => {
    const [steps, reach] = spec.pairs === "sampled" ? [spec.frames + groupOf(spec) - 1, 1] : [spec.frames, groupOf(spec)];
    return Math.max(steps * strideOf(spec, fps), (steps - 1) * strideOf(spec, fps) + reach) / fps;
  });
  return dense.length ? Math.max(...dense) : 2;
}

/** The probability between any two neighboring ends of windows: the mean of the windows that show it. */
export function smooth(spans, answers) {
  const edges = [...new Set(spans.flat())].sort((a, b) => a - b);
  return edges.slice(1).map((stop, i) => {
    const start = edges[i];
    const over = answers.filter((_, n) => spans[n][0] <= start && stop <= spans[n][1]);
    const mean = over.length ? over[0].map((_, k) => over.reduce((sum, each) => sum + each[k], 0) / over.length) : null;
    return { start, stop, answer: mean };
  });
}
