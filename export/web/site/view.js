// What the page shows of answers: labels as bars, and when they are there.

const SHOWN = 5, ROWS = 4; // labels in the bars, and in the timeline

const element = (tag, parent, text = "", className = "") => {
  const made = Object.assign(document.createElement(tag), { textContent: text, className });
  parent?.append(made);
  return made;
};

/** Seconds as 1:05, or with tenths. */
export function clock(seconds, tenths = false) {
  const minutes = Math.floor(seconds / 60), rest = seconds - 60 * minutes;
  const text = tenths ? (Math.floor(rest * 10) / 10).toFixed(1) : String(Math.floor(rest));
  return `${minutes}:${text.padStart(tenths ? 4 : 2, "0")}`;
}

const percent = (value) => (value > 0 && value < 0.005 ? "<1 %" : `${Math.round(100 * value)} %`);

/** Shows an answer: numbers in the order of the labels. */
export function showBars(best, list, contract, answer) {
  const numbers = contract.task === "regression", most = numbers ? Math.max(...answer.map(Math.abs)) || 1 : 1;
  const order = answer.map((_, n) => n);
  if (!numbers) order.sort((a, b) => answer[b] - answer[a]);
  const said = order.filter((n) => answer[n] >= 0.5);
  const names = contract.task === "multilabel" ? said : numbers ? [] : order.slice(0, 1);
  best.textContent = names.map((n) => contract.labels[n]).join(", ") || (contract.task === "multilabel" ? "none of the labels" : "");
  list.replaceChildren(...order.slice(0, numbers ? order.length : SHOWN).map((n) => {
    const row = element("li"), line = element("span", row);
    element("b", line, contract.labels[n]).style.fontWeight = "500";
    element("em", line, numbers ? answer[n].toPrecision(4) : percent(answer[n]));
    element("i", element("div", row)).style.width = `${(100 * Math.abs(answer[n])) / most}%`;
    return row;
  }));
}

/** Shows parts of a video: {start, stop, answer} each, frames; labels that are strongest somewhere have rows. */
export function showTimeline(rows, playhead, contract, parts, count) {
  const known = parts.filter((part) => part.answer);
  const peak = contract.labels.map((_, n) => Math.max(0, ...known.map((part) => Math.abs(part.answer[n]))));
  const leads = new Set(known.map(({ answer }) => answer.indexOf(Math.max(...answer))));
  const order = peak.map((_, n) => n).sort((a, b) => leads.has(b) - leads.has(a) || peak[b] - peak[a]);
  const scale = contract.task === "regression" ? Math.max(...peak) || 1 : 1;
  const told = order.filter((n) => leads.has(n) || peak[n] >= 0.05 * scale).slice(0, ROWS);
  rows.replaceChildren(playhead, ...told.map((n) => {
    const row = element("div", null, "", "row"), line = element("b", row);
    element("span", line, contract.labels[n]);
    const track = element("div", row, "", "track");
    for (const { start, stop, answer } of known) {
      const cell = element("i", track);
      cell.style.left = `${(100 * start) / count}%`;
      cell.style.width = `${(100 * (stop - start)) / count}%`;
      cell.style.opacity = Math.abs(answer[n]) / scale;
      cell.title = `${contract.labels[n]} ${contract.task === "regression" ? answer[n].toPrecision(4) : percent(answer[n])}`;
    }
    return row;
  }));
}

/** Shows names and values. */
export function showFacts(list, facts) {
  list.replaceChildren(...facts.map(([name, value]) => {
    const row = element("div");
    element("dt", row, name);
    element("dd", row, value);
    return row;
  }));
}

/** Says which model it is, and whose weights it began from. */
export function showOrigins(footer, contract) {
  const [spec] = Object.values(contract.specs);
  const size = `${spec.frames} frames of ${spec.width}×${spec.height}`;
  element("p", footer, `Model ${contract.model}, ${contract.precision}: clips of ${size}.`);
  for (const { weights, author, license, data } of contract.origins) {
    const facts = [weights && `Weights: ${weights}`, author && `by ${author}`, data && `trained on ${data}`, license].filter(Boolean);
    element("p", footer, facts.join(", ") + ".");
  }
  const made = element("p", footer, "Made with clipzoo. Runs on ONNX Runtime Web, Microsoft, ");
  Object.assign(element("a", made, "MIT license"), { href: "runtime/LICENSE" });
  made.append(".");
}
