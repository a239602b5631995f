// Runs in a browser beside the page: does what jobs.json says with the page's own modules, and sends the answers.
import { planClips, readClips } from "./clips.js";
import { isolate } from "./isolate.js";
import { loadModel } from "./model.js";
import { openVideo } from "./video.js";

const bytes = async (url) => new Uint8Array(await (await fetch(url)).arrayBuffer());
const until = async (what) => {
  for (let found; ; await new Promise((resolve) => setTimeout(resolve, 50))) if ((found = what())) return found;
};

const doing = {
  async clip(job, contract, model) { // frames that are given
    const clip = {};
    for (const input of Object.keys(contract.specs)) clip[input] = await bytes(`${job.file}.${input}`);
    return (await model.run(clip)).answer;
  },
  async video(job, contract, model) { // a file
    const video = await openVideo(new File([await bytes(job.file)], "clip.mp4"));
    const plans = planClips(contract.specs, [[0, video.count]], video.fps);
    for await (const { clip } of readClips(video, contract.specs, plans)) {
      return { count: video.count, exact: video.exact, answer: (await model.run(clip)).answer };
    }
  },
  async page(job) { // the page itself, as a visitor uses it
    const frame = Object.assign(document.createElement("iframe"), { src: "index.html?provider=wasm", width: 900, height: 900 });
    document.body.append(frame);
    const find = (id) => frame.contentDocument?.getElementById(id);
    await until(() => find("file") && !find("file").disabled);
    const files = new DataTransfer();
    files.items.add(new File([await bytes(job.file)], "clip.mp4"));
    find("file").files = files.files;
    find("file").dispatchEvent(new Event("change"));
    const text = (id) => find(id).innerText;
    await until(() => frame.contentDocument.body.ariaBusy === "false");
    const whole = { best: text("best"), bars: text("bars"), facts: text("facts"), message: text("message") };
    find("now").click();
    return { ...whole, title: text("title"), cells: find("rows").querySelectorAll("i").length, now: text("bars"), clock: text("now") };
  },
};

async function main() {
  await isolate();
  const { jobs, provider } = await (await fetch("jobs.json")).json();
  const contract = await (await fetch("contract.json")).json();
  const model = await loadModel(contract, { provider });
  const answers = [];
  for (const job of jobs) answers.push(await doing[job.kind](job, contract, model).catch((error) => ({ error: String(error) })));
  return { where: model.where, isolated: crossOriginIsolated, answers };
}

const found = await main().catch((error) => ({ error: `${error} ${error.stack}` }));
await fetch("answers", { method: "POST", body: JSON.stringify(found) });
