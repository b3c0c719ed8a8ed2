// Brush masks as the browser packs them, into brush_rle.json beside this file. Run make_brush_rle.py afterwards.
//   npm install @thi.ng/rle-pack@3.2.12 && node make_brush_rle.mjs
import { writeFileSync } from "node:fs";
import { encode } from "@thi.ng/rle-pack";

// size: [height, width]; rectangles: [top, left, bottom, right], each turning its pixels over
const cases = [
  { size: [1, 1], rectangles: [] },
  { size: [1, 1], rectangles: [[0, 0, 1, 1]] },
  { size: [2, 1], rectangles: [[1, 0, 2, 1]] },
  { size: [3, 5], rectangles: [[0, 1, 2, 4], [1, 2, 3, 5]] },
  { size: [37, 41], rectangles: [[3, 4, 30, 35], [10, 12, 20, 22], [36, 40, 37, 41]] },
  { size: [128, 128], rectangles: [] },
  { size: [128, 129], rectangles: [[0, 0, 128, 129]] },
  { size: [301, 300], rectangles: [[120, 0, 260, 300], [130, 7, 131, 90]] },
];

for (const one of cases) {
  const [height, width] = one.size;
  const rgba = new Uint8Array(height * width * 4);
  for (const [top, left, bottom, right] of one.rectangles)
    for (let y = top; y < bottom; y++)
      for (let x = left; x < right; x++)
        for (let channel = 0; channel < 4; channel++) rgba[4 * (y * width + x) + channel] ^= 255;
  one.browser = Array.from(encode(rgba, rgba.length));
}

// A disc with a smooth edge in colours, as it lies on a canvas: its values do not repeat, so they are packed one by one.
const disc = { size: [23, 37], centre: [11, 18], radius: 9 };
const [height, width] = disc.size;
const rgba = new Uint8Array(height * width * 4);
for (let y = 0; y < height; y++)
  for (let x = 0; x < width; x++) {
    const distance = Math.hypot(y - disc.centre[0], x - disc.centre[1]);
    const alpha = Math.max(0, Math.min(255, Math.floor((disc.radius - distance) * 64 + 128)));
    rgba.set([alpha ? 200 : 0, alpha ? 30 : 0, (x * 7) & 255, alpha], 4 * (y * width + x));
  }
disc.browser = Array.from(encode(rgba, rgba.length));

const lines = cases.map((one) => JSON.stringify(one)).join(",\n");
writeFileSync(new URL("brush_rle.json", import.meta.url), `{"cases": [\n${lines}\n],\n"disc": ${JSON.stringify(disc)}}\n`);
