// Calls functions of the page's modules, for Python: {site, calls: [{module, name, args}]} on stdin, answers on stdout.
import { readFileSync } from "node:fs";

const fromPython = (_, value) =>
  value?.$bytes !== undefined ? new Uint8Array(Buffer.from(value.$bytes, "base64"))
    : value?.$blob !== undefined ? new Blob([Buffer.from(value.$blob, "base64")])
      : value?.$map !== undefined ? new Map(value.$map) : value;
const toPython = (_, value) => (value instanceof Uint8Array ? { $bytes: Buffer.from(value).toString("base64") } : value);

const { site, calls } = JSON.parse(readFileSync(0), fromPython);
const answers = [];
for (const { module, name, args } of calls) {
  try {
    answers.push({ value: await (await import(`${site}/${module}.js`))[name](...args) });
  } catch (error) {
    answers.push({ error: error.message });
  }
}
console.log(JSON.stringify(answers, toPython));
