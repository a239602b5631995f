// The model: ONNX Runtime on the GPU where the browser has WebGPU and computes right with it, else on the processor.

const PATIENCE = 60; // seconds; a driver that hangs does so for ever

const within = (seconds, work) => Promise.race([
  work, new Promise((_, fail) => setTimeout(() => fail(new Error(`no answer in ${seconds} s`)), 1000 * seconds)),
]);

/** Loads the model of a contract. `progress` is told the part of its bytes that came, 0 to 1.
 *
 * @returns {run(clip), where}: run gives {answer: numbers in the order of the labels, ms}.
 */
export async function loadModel(contract, { progress = () => {}, provider = null } = {}) {
  const bytes = await download("model.onnx", progress);
  if (provider !== "wasm" && (provider === "webgpu" || contract.precision !== "int8") && (await hasGpu())) {
    try {
      const ort = await import("./runtime/ort.webgpu.bundle.min.mjs");
      const model = await open(ort, bytes, contract, "webgpu");
      const { answer } = await within(PATIENCE, model.run(checkClip(contract.specs))); // shaders are compiled meanwhile
      const off = Math.max(...answer.map((value, n) => Math.abs(value - contract.check[n])));
      const scale = contract.task === "regression" ? Math.max(1, ...contract.check.map(Math.abs)) : 1;
      if (off <= 0.02 * scale) return { ...model, where: "GPU (WebGPU)" };
      console.warn(`WebGPU is ${off} from ONNX Runtime; the processor computes instead`);
    } catch (error) {
      console.warn("WebGPU cannot compute this model; the processor does", error);
    }
  }
  if (provider === "webgpu") throw new Error("This browser cannot compute the model with WebGPU.");
  const ort = await import("./runtime/ort.wasm.bundle.min.mjs");
  const threads = globalThis.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
  Object.assign(ort.env.wasm, { numThreads: threads, proxy: true }); // in a worker: the page stays alive
  return { ...(await open(ort, bytes, contract, "wasm")), where: `processor, ${threads} thread${threads > 1 ? "s" : ""}` };
}

/** The clip whose answer stands in the contract as `check`: bytes of a linear congruential generator. */
export function checkClip(specs) {
  return Object.fromEntries(Object.entries(specs).map(([input, spec]) => {
    const clip = new Uint8Array(spec.frames * spec.height * spec.width * spec.channels);
    let state = 1;
    for (let n = 0; n < clip.length; n++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      clip[n] = state >>> 24;
    }
    return [input, clip];
  }));
}

async function hasGpu() {
  try {
    return Boolean(await navigator.gpu?.requestAdapter());
  } catch {
    return false;
  }
}

async function open(ort, bytes, contract, provider) {
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(bytes.slice(), { executionProviders: [provider] });
  const output = contract.task === "regression" ? "values" : "probabilities";
  return {
    async run(clip) {
      const feeds = Object.fromEntries(Object.entries(contract.specs).map(([input, spec]) => [
        input, new ort.Tensor("uint8", clip[input], [1, spec.frames, spec.height, spec.width, spec.channels]),
      ]));
      const begin = performance.now();
      const found = await session.run(feeds, [output]);
      return { answer: Array.from(await found[output].getData()), ms: performance.now() - begin };
    },
  };
}

async function download(url, progress) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be loaded (${response.status}).`);
  const length = Number(response.headers.get("content-length")), parts = [];
  let got = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    got += value.length;
    progress(length ? Math.min(1, got / length) : 0);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
