// The page: a video or the camera in, answers out. What is computed lies in the modules that it imports.
import { openCamera } from "./camera.js";
import { planClips, planWindows, readClips } from "./clips.js";
import { isolate } from "./isolate.js";
import { loadModel } from "./model.js";
import { smooth } from "./sampling.js";
import { openVideo } from "./video.js";
import { clock, showBars, showFacts, showOrigins, showTimeline } from "./view.js";

const at = Object.fromEntries([...document.querySelectorAll("[id]")].map((each) => [each.id, each]));
let contract, model, camera, work = 0; // `work` counts what was begun: what is not the newest stops
let shown = null; // of the video that is shown: {video, whole, parts}
let times = []; // milliseconds of the clips that were answered

async function start() {
  await isolate();
  contract = await (await fetch("contract.json")).json();
  document.title = at.title.textContent = contract.title;
  showOrigins(at.origins, contract);
  at.status.textContent = "The model is loading.";
  const provider = new URLSearchParams(location.search).get("provider");
  model = await loadModel(contract, { progress: (part) => (at.loading.value = part), provider });
  at.loading.hidden = true;
  idle();
  at.file.disabled = at.camera.disabled = false;
}

/** What stands there before there is an answer. */
function idle() {
  const { labels } = contract, some = labels.slice(0, 8).join(", ");
  at.status.textContent = `Ready. It knows ${labels.length} labels: ${some}${labels.length > 8 ? " …" : "."}`;
  showFacts(at.facts, [["computed on", model.where]]);
}

function say(error) {
  console.error(error);
  at.status.textContent = "";
  at.loading.hidden = true;
  at.message.hidden = false;
  at.message.textContent = error.message || String(error);
}

/** Begins something else: what went on before ends. */
function begin() {
  camera?.stop();
  camera = null;
  shown = null;
  times = [];
  at.message.hidden = true;
  at.timeline.hidden = at.scopes.hidden = true;
  at.best.textContent = at.progress.textContent = "";
  at.bars.replaceChildren();
  at.drop.hidden = true;
  at.video.hidden = false;
  at.camera.textContent = "Use the camera";
  if (at.video.src) URL.revokeObjectURL(at.video.src);
  at.video.removeAttribute("src");
  return ++work;
}

async function answer(clip, extra = []) {
  const { answer, ms } = await model.run(clip);
  times.push(ms);
  const median = [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
  const time = median < 10 ? `${median.toFixed(1)} ms` : median < 1000 ? `${Math.round(median)} ms` : `${(median / 1000).toFixed(1)} s`;
  showFacts(at.facts, [["time a clip", time], ["computed on", model.where], ...extra]);
  return answer;
}

async function showVideo(file) {
  const mine = begin();
  document.body.ariaBusy = "true";
  try {
    await answerVideo(file, mine);
  } finally {
    if (mine === work) document.body.ariaBusy = "false";
  }
}

async function answerVideo(file, mine) {
  at.video.src = URL.createObjectURL(file);
  at.video.controls = true;
  at.status.textContent = "The video is read.";
  const video = await openVideo(file);
  const facts = [["video", `${clock(video.seconds, true)}, ${video.exact ? "" : "about "}${video.count} frames`]];
  for await (const { clip } of readClips(video, contract.specs, planClips(contract.specs, [[0, video.count]], video.fps))) {
    if (mine !== work) return;
    at.status.textContent = "The model looks at the whole video.";
    shown = { video, whole: await answer(clip, facts), parts: [] };
    if (mine !== work) return;
    at.status.textContent = "";
    scope("whole");
  }
  const plans = planWindows(contract.specs, video), spans = [], answers = [];
  if (plans.length < 2) return;
  at.end.textContent = clock(video.seconds);
  at.timeline.hidden = at.scopes.hidden = false;
  for await (const { plan, clip } of readClips(video, contract.specs, plans)) {
    if (mine !== work) return;
    at.progress.textContent = `${answers.length} of ${plans.length} windows`;
    const found = await answer(clip, facts);
    if (mine !== work) return;
    spans.push(plan.span);
    answers.push(found);
    shown.parts = smooth(spans, answers);
    showTimeline(at.rows, at.playhead, contract, shown.parts, video.count);
    follow();
  }
  at.progress.textContent = "";
}

async function showCamera() {
  if (camera) {
    begin();
    at.video.hidden = true;
    at.drop.hidden = false;
    idle();
    return;
  }
  const mine = begin();
  at.video.controls = false;
  at.status.textContent = "The camera starts.";
  try {
    camera = await openCamera(at.video, contract.specs);
  } catch (error) {
    at.video.hidden = true;
    at.drop.hidden = false;
    throw error;
  }
  at.camera.textContent = "Stop the camera";
  while (mine === work) {
    const clip = camera.clip();
    if (clip) {
      const found = await answer(clip);
      if (mine !== work) return;
      at.status.textContent = "";
      showBars(at.best, at.bars, contract, found);
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** Shows the answer of the whole video, or of where it stands. */
function scope(name) {
  at.whole.setAttribute("aria-pressed", name === "whole");
  at.now.setAttribute("aria-pressed", name === "now");
  follow();
}

function follow() {
  if (!shown) return;
  const { video, whole, parts } = shown, time = at.video.currentTime, frame = Math.min(time * video.fps, video.count - 1);
  at.playhead.style.left = `${Math.min(100, (100 * time) / video.seconds)}%`;
  at.now.textContent = `At ${clock(time, true)}`;
  const part = parts.find(({ start, stop }) => start <= frame && frame < stop);
  const now = at.now.getAttribute("aria-pressed") === "true" && part?.answer;
  showBars(at.best, at.bars, contract, now || whole);
}

function tick() {
  if (shown && !at.video.paused) follow();
  requestAnimationFrame(tick);
}

const dropped = (files) => files.length && model && showVideo(files[0]).catch(say);
at.file.addEventListener("change", () => (dropped(at.file.files), (at.file.value = "")));
at.camera.addEventListener("click", () => showCamera().catch(say));
at.whole.addEventListener("click", () => scope("whole"));
at.now.addEventListener("click", () => scope("now"));
at.video.addEventListener("play", () => scope("now"));
at.video.addEventListener("seeking", () => scope("now"));
at.rows.addEventListener("click", (event) => {
  const box = at.rows.getBoundingClientRect();
  if (shown) at.video.currentTime = ((event.clientX - box.left) / box.width) * shown.video.seconds;
});
for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", type === "dragenter" || type === "dragover");
    if (type === "drop") dropped(event.dataTransfer.files);
  });
}
requestAnimationFrame(tick);
start().catch(say);
