// Clips out of a video: the frames of all of them in one pass, each clip given as soon as its last frame came.
import { assemble, prepare } from "./pixels.js";
import { clipSeconds, roundHalfEven, sample, windows } from "./sampling.js";

/** What clips of parts of a video are made of.
 *
 * @param specs input name -> spec.
 * @param spans [start, stop] of each part, frames, stop excluded, by start.
 * @returns plans: {span, steps: input name -> frames of each step}.
 */
export function planClips(specs, spans, fps) {
  return spans.map(([start, stop]) => ({
    span: [start, stop],
    steps: Object.fromEntries(Object.entries(specs).map(([input, spec]) => [
      input, sample(stop - start, spec, fps).map((frames) => frames.map((frame) => frame + start)),
    ])),
  }));
}

/** Windows over a whole video, as `clipzoo predict --timeline` cuts them: a clip long, half of it apart. */
export function planWindows(specs, video) {
  const seconds = clipSeconds(Object.values(specs), video.fps), frames = (time) => Math.max(1, roundHalfEven(time * video.fps));
  return planClips(specs, windows(video.count, frames(seconds), frames(seconds / 2)), video.fps);
}

const framesOf = (plan) => Object.values(plan.steps).flat(2);

/** Yields {plan, clip: input name -> Uint8Array (frames, height, width, channels)} for each plan, in order. */
export async function* readClips(video, specs, plans) {
  const held = Object.fromEntries(Object.keys(specs).map((input) => [input, new Map()]));
  const until = new Map(); // frame -> the last plan that needs it
  plans.forEach((plan, n) => framesOf(plan).forEach((frame) => until.set(frame, n)));
  let next = 0;
  for await (const [number, image] of video.frames([...until.keys()])) {
    for (const [input, spec] of Object.entries(specs)) held[input].set(number, prepare(image, spec));
    while (next < plans.length && Math.max(...framesOf(plans[next])) <= number) {
      const plan = plans[next++];
      yield { plan, clip: clipOf(plan, specs, held) };
      for (const [frame, last] of until) {
        if (last < next) for (const frames of Object.values(held)) frames.delete(frame);
      }
    }
  }
}

function clipOf(plan, specs, held) {
  return Object.fromEntries(
    Object.entries(specs).map(([input, spec]) => [input, assemble(plan.steps[input], held[input], spec)]),
  );
}
