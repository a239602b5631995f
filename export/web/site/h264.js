// The colors that an H.264 stream says it has (ITU-T H.264, 7.3.2.1.1 and E.1.1). Browsers guess where it says nothing,
// and do not tell that they did.

/** Bits of a parameter set, without the bytes that keep it from looking like a start code. */
class Bits {
  constructor(bytes) {
    this.bytes = bytes.filter((byte, n) => !(byte === 3 && n > 1 && bytes[n - 1] === 0 && bytes[n - 2] === 0));
    this.at = 0;
  }

  read(count = 1) {
    let value = 0;
    for (; count > 0; count--, this.at++) value = value * 2 + ((this.bytes[this.at >> 3] >> (7 - (this.at & 7))) & 1);
    return value;
  }

  /** An Exp-Golomb number, ue(v). */
  golomb() {
    let zeros = 0;
    while (this.at < this.bytes.length * 8 && !this.read()) zeros++;
    return 2 ** zeros - 1 + this.read(zeros);
  }

  /** One with a sign, se(v). */
  signed() {
    const value = this.golomb();
    return value % 2 ? (value + 1) / 2 : -value / 2;
  }
}

const WITH_CHROMA = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135]; // profiles

/** {matrix, fullRange} of an avcC box: matrix_coefficients as the standard numbers them, 2 where it is not said. */
export function colorsOf(avcC) {
  const unsaid = { matrix: 2, fullRange: false };
  if (!(avcC[5] & 31)) return unsaid;
  const bits = new Bits(avcC.subarray(9, 8 + ((avcC[6] << 8) | avcC[7]))); // behind the header of the first SPS
  const profile = bits.read(8);
  bits.read(16);
  bits.golomb();
  if (WITH_CHROMA.includes(profile)) skipChroma(bits);
  bits.golomb();
  const order = bits.golomb();
  if (order === 0) bits.golomb();
  if (order === 1) {
    bits.read(1), bits.signed(), bits.signed();
    for (let count = bits.golomb(); count > 0; count--) bits.signed();
  }
  bits.golomb(), bits.read(1), bits.golomb(), bits.golomb();
  if (!bits.read()) bits.read();
  bits.read();
  if (bits.read()) for (let side = 0; side < 4; side++) bits.golomb(); // cropping
  if (!bits.read()) return unsaid; // no VUI
  if (bits.read() && bits.read(8) === 255) bits.read(32); // sample aspect ratio
  if (bits.read()) bits.read(); // overscan
  if (!bits.read()) return unsaid;
  bits.read(3);
  const fullRange = bits.read() === 1;
  if (!bits.read()) return { ...unsaid, fullRange };
  bits.read(16);
  return { matrix: bits.read(8), fullRange };
}

function skipChroma(bits) {
  const format = bits.golomb();
  if (format === 3) bits.read();
  bits.golomb(), bits.golomb(), bits.read();
  if (!bits.read()) return;
  for (let list = 0; list < (format === 3 ? 12 : 8); list++) {
    if (!bits.read()) continue;
    for (let n = 0, last = 8, next = 8; n < (list < 6 ? 16 : 64); n++) {
      if (next) next = (last + bits.signed() + 256) % 256;
      last = next || last;
    }
  }
}
