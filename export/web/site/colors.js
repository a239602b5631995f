// Decoded pictures as RGB. Browsers and FFmpeg agree on the planes of a picture, but not on its colors: this is
// FFmpeg's conversion as OpenCV uses it (libswscale's yuv2rgb: chroma repeated, 13 bits, each product rounded down).
// Pure functions of arrays.

// Red of V, blue of U, green of U and of V, times 65536: libswscale's ff_yuv2rgb_coeffs, by matrix_coefficients of H.264.
const BT601 = [104597, 132201, -25675, -53279]; // where it is not said too
const MATRICES = {
  1: [117489, 138438, -13975, -34925], 4: [104448, 132798, -24759, -53109], 7: [117579, 136230, -16907, -35559],
  9: [110013, 140363, -12277, -42626], 10: [110013, 140363, -12277, -42626],
};

/** Planes of 4:2:0, 8 bits -> an image, RGB.
 *
 * @param planes {y, u, v}: each {data, offset, stride, step}, bytes; `step` is 2 where U and V alternate (NV12).
 * @param color {matrix, fullRange}: as `colorsOf` of h264.js gives them.
 */
export function toRgb(planes, height, width, color) {
  const { y, u, v } = planes, data = new Uint8Array(height * width * 3), full = color.fullRange;
  const chroma = full ? 224 / 255 : 1;
  const [redV, blueU, greenU, greenV] = (MATRICES[color.matrix] ?? BT601).map((c) => Math.round(c * chroma / 8));
  const gain = full ? 8192 : Math.round((8192 * 255) / 219), black = full ? 0 : 16;
  for (let row = 0, to = 0; row < height; row++) {
    const luma = y.offset + row * y.stride;
    const atU = u.offset + (row >> 1) * u.stride, atV = v.offset + (row >> 1) * v.stride;
    for (let column = 0; column < width; column++, to += 3) {
      const light = ((y.data[luma + column * y.step] - black) * 8 * gain) >> 16;
      const cu = (u.data[atU + (column >> 1) * u.step] - 128) * 8, cv = (v.data[atV + (column >> 1) * v.step] - 128) * 8;
      data[to] = clip(light + ((cv * redV) >> 16));
      data[to + 1] = clip(light + ((cu * greenU) >> 16) + ((cv * greenV) >> 16));
      data[to + 2] = clip(light + ((cu * blueU) >> 16));
    }
  }
  return { height, width, channels: 3, data };
}

const clip = (value) => (value < 0 ? 0 : value > 255 ? 255 : value);

/** Bytes of a canvas, RGBA -> an image, RGB. */
export function fromCanvas(rgba, height, width) {
  const data = new Uint8Array(height * width * 3);
  for (let at = 0, to = 0; to < data.length; at += 4, to += 3) {
    data[to] = rgba[at];
    data[to + 1] = rgba[at + 1];
    data[to + 2] = rgba[at + 2];
  }
  return { height, width, channels: 3, data };
}

/** An image turned clockwise by 0, 90, 180 or 270 degrees: what the file says to show. */
export function turned(image, degrees) {
  if (degrees === 0) return image;
  const { height, width, channels, data } = image, out = new Uint8Array(data.length), pixels = height * width;
  const wide = degrees === 180 ? width : height;
  for (let n = 0; n < pixels; n++) {
    const y = Math.floor(n / width), x = n % width;
    const [row, column] = {
      90: [x, height - 1 - y], 180: [height - 1 - y, width - 1 - x], 270: [width - 1 - x, y],
    }[degrees];
    for (let k = 0; k < channels; k++) out[(row * wide + column) * channels + k] = data[n * channels + k];
  }
  return { height: pixels / wide, width: wide, channels, data: out };
}
