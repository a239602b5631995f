// The table of frames in an MP4 or MOV file (ISO/IEC 14496-12): when each is shown, and where its bytes are.
import { colorsOf } from "./h264.js";

/** The frames of the first video track, or null: no such file, or one whose frames lie in fragments or several edits.
 *
 * @param file a Blob.
 * @returns {samples, fps, codec, description, colors, rotation}: samples in decoding order, {offset, size, time, key, shown};
 *   time in microseconds from the first shown frame; codec, description and colors of H.264 alone.
 */
export async function readFrameTable(file) {
  const moov = await findMoov(file);
  if (!moov) return null;
  try {
    const movie = boxes(moov).find((box) => box.type === "mvhd");
    const movieScale = movie.view.getUint32(movie.view.getUint8(0) === 1 ? 20 : 12);
    for (const track of boxes(moov).filter((box) => box.type === "trak")) {
      const table = readTrack(track.view, movieScale);
      if (table) return table;
    }
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error; // damaged: the <video> may know more
  }
  return null;
}

async function findMoov(file) {
  for (let at = 0; at + 8 <= file.size; ) {
    const head = new DataView(await file.slice(at, at + 16).arrayBuffer());
    const type = name(head, 4), short = head.getUint32(0);
    const size = short === 1 ? Number(head.getBigUint64(8)) : short === 0 ? file.size - at : short;
    if (size < 8 || !/^[\w ]{4}$/.test(type)) return null;
    if (type === "moov") return new DataView(await file.slice(at + (short === 1 ? 16 : 8), at + size).arrayBuffer());
    at += size;
  }
  return null;
}

const name = (view, at) => String.fromCharCode(...[0, 1, 2, 3].map((k) => view.getUint8(at + k)));

/** The boxes in a box, one behind the other. */
function boxes(view, from = 0) {
  const found = [];
  for (let at = from; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at) || view.byteLength - at;
    if (size < 8) break;
    found.push({ type: name(view, at + 4), view: new DataView(view.buffer, view.byteOffset + at + 8, size - 8) });
    at += size;
  }
  return found;
}

/** A box by the names on the way to it; undefined where there is none. */
function find(view, ...path) {
  for (const type of path) view = view && boxes(view).find((box) => box.type === type)?.view;
  return view;
}

function readTrack(track, movieScale) {
  const media = find(track, "mdia");
  if (name(find(media, "hdlr"), 8) !== "vide") return null;
  const header = find(media, "mdhd"), scale = header.getUint32(header.getUint8(0) === 1 ? 20 : 12);
  const stbl = find(media, "minf", "stbl");
  const sizes = readSizes(find(stbl, "stsz"));
  if (!sizes?.length) return null;
  const { durations, total } = readDurations(find(stbl, "stts"), sizes.length);
  const shifts = readShifts(find(stbl, "ctts"), sizes.length);
  const offsets = readOffsets(stbl, sizes);
  const sync = find(stbl, "stss"), keys = sync && new Set(numbers(sync, 8, sync.getUint32(4)));
  const edit = readEdit(find(track, "edts", "elst"), scale, movieScale);
  if (!edit) return null;
  let decoded = 0;
  const samples = sizes.map((size, n) => {
    const shown = decoded + shifts[n];
    decoded += durations[n];
    return { offset: offsets[n], size, ticks: shown, key: !keys || keys.has(n + 1), shown: shown >= edit.start && shown < edit.stop };
  });
  const first = Math.min(...samples.filter((sample) => sample.shown).map((sample) => sample.ticks));
  for (const sample of samples) sample.time = Math.round(((sample.ticks - first) * 1e6) / scale);
  return { samples, fps: (sizes.length * scale) / total, rotation: readRotation(find(track, "tkhd")), ...readCodec(find(stbl, "stsd")) };
}

const numbers = (view, at, count) => Array.from({ length: count }, (_, n) => view.getUint32(at + 4 * n));

function readSizes(stsz) {
  const same = stsz?.getUint32(4), count = stsz?.getUint32(8);
  return stsz && (same ? Array(count).fill(same) : numbers(stsz, 12, count));
}

/** Pairs of (how many samples, a number), one number a sample. */
function spread(view, count, read) {
  const found = [];
  for (let n = 0; n < view.getUint32(4); n++) {
    for (let k = view.getUint32(8 + 8 * n); k > 0 && found.length < count; k--) found.push(read(12 + 8 * n));
  }
  while (found.length < count) found.push(found.at(-1) ?? 0);
  return found;
}

function readDurations(stts, count) {
  const durations = spread(stts, count, (at) => stts.getUint32(at));
  return { durations, total: durations.reduce((sum, each) => sum + each, 0) };
}

const readShifts = (ctts, count) => (ctts ? spread(ctts, count, (at) => ctts.getInt32(at)) : Array(count).fill(0));

function readOffsets(stbl, sizes) {
  const large = find(stbl, "co64"), chunks = large ?? find(stbl, "stco"), runs = find(stbl, "stsc");
  const offsets = [], count = chunks.getUint32(4);
  for (let chunk = 1, run = 0; chunk <= count; chunk++) {
    while (run + 1 < runs.getUint32(4) && runs.getUint32(8 + 12 * (run + 1)) <= chunk) run++;
    let at = large ? Number(large.getBigUint64(8 * chunk)) : chunks.getUint32(4 + 4 * chunk);
    for (let k = runs.getUint32(12 + 12 * run); k > 0 && offsets.length < sizes.length; k--) {
      offsets.push(at);
      at += sizes[offsets.length - 1];
    }
  }
  return offsets;
}

/** The part of a track that is shown, in its ticks; null where there are several. */
function readEdit(elst, scale, movieScale) {
  const whole = { start: -Infinity, stop: Infinity };
  if (!elst) return whole;
  const wide = elst.getUint8(0) === 1, edits = [];
  for (let n = 0, at = 8; n < elst.getUint32(4); n++, at += wide ? 20 : 12) {
    const [length, start] = wide
      ? [Number(elst.getBigUint64(at)), Number(elst.getBigInt64(at + 8))] : [elst.getUint32(at), elst.getInt32(at + 4)];
    if (start >= 0) edits.push({ start, stop: length ? start + (length * scale) / movieScale : Infinity });
  }
  return edits.length > 1 ? null : (edits[0] ?? whole);
}

function readRotation(tkhd) {
  const at = tkhd.getUint8(0) === 1 ? 52 : 40;
  const [a, b] = [tkhd.getInt32(at), tkhd.getInt32(at + 4)];
  return (Math.round((Math.atan2(b, a) / Math.PI) * 2) * 90 + 360) % 360;
}

function readCodec(stsd) {
  const [entry] = boxes(stsd, 8);
  const box = entry?.type === "avc1" && boxes(entry.view, 78).find((each) => each.type === "avcC");
  if (!box) return {};
  const bytes = new Uint8Array(box.view.buffer, box.view.byteOffset, box.view.byteLength);
  const codec = entry.type + "." + [...bytes.slice(1, 4)].map((each) => each.toString(16).padStart(2, "0")).join("");
  return { codec, description: bytes, colors: colorsOf(bytes) };
}
