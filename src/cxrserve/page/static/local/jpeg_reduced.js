// A JPEG at a half, a quarter or an eighth of its size, in libjpeg's own arithmetic (jidctred.c):
// the service decodes large films so, and a network tells levels apart that an eye does not.

const [BITS, EXTRA] = [13, 2];

// `coefficients`: as `coefficientsOf` gives them. Grey, { pixels, width, height }.
export function reducedBy(scale, { width, height, across, down, blocks, quantisation }) {
  const side = 8 / scale;
  const transform = { 4: four, 2: two, 1: one }[side];
  const wide = across * side;
  const whole = new Uint8Array(wide * down * side);
  for (let y = 0, block = 0; y < down; y++)
    for (let x = 0; x < across; x++, block += 64) transform(blocks, block, quantisation, whole, (y * wide + x) * side, wide);
  const [columns, rows] = [Math.ceil(width / scale), Math.ceil(height / scale)];
  const pixels = new Uint8Array(columns * rows);
  for (let y = 0; y < rows; y++) pixels.set(whole.subarray(y * wide, y * wide + columns), y * columns);
  return { pixels, width: columns, height: rows };
}

const work = new Int32Array(32);
const descaled = (value, bits) => (value + (1 << (bits - 1))) >> bits;
const limited = (value) => (value < -128 ? 0 : value > 127 ? 255 : value + 128);

// Columns into `work`, then its rows into the picture; column 4 has no part in four outputs.
function four(blocks, at, table, whole, out, wide) {
  for (let column = 0; column < 8; column++) {
    if (column === 4) continue;
    const term = (row) => blocks[at + 8 * row + column] * table[8 * row + column];
    const ends = fourOf(term(0), term(1), term(2), term(3), term(5), term(6), term(7), BITS - EXTRA + 1);
    for (let row = 0; row < 4; row++) work[8 * row + column] = ends[row];
  }
  for (let row = 0; row < 4; row++) {
    const from = 8 * row;
    const ends = fourOf(work[from], work[from + 1], work[from + 2], work[from + 3], work[from + 5], work[from + 6], work[from + 7], BITS + EXTRA + 4);
    for (let column = 0; column < 4; column++) whole[out + row * wide + column] = limited(ends[column]);
  }
}

function fourOf(z0, z1, z2, z3, z5, z6, z7, bits) {
  const even = z2 * 15137 - z6 * 6270;
  const [outer, inner] = [(z0 << (BITS + 1)) + even, (z0 << (BITS + 1)) - even];
  const odd = -z7 * 1730 + z5 * 11893 - z3 * 17799 + z1 * 8697;
  const other = -z7 * 4176 - z5 * 4926 + z3 * 7373 + z1 * 20995;
  return [descaled(outer + other, bits), descaled(inner + odd, bits), descaled(inner - odd, bits), descaled(outer - other, bits)];
}

function two(blocks, at, table, whole, out, wide) {
  for (const column of [0, 1, 3, 5, 7]) {
    const term = (row) => blocks[at + 8 * row + column] * table[8 * row + column];
    [work[column], work[8 + column]] = twoOf(term(0), term(1), term(3), term(5), term(7), BITS - EXTRA + 2);
  }
  for (let row = 0; row < 2; row++) {
    const from = 8 * row;
    const ends = twoOf(work[from], work[from + 1], work[from + 3], work[from + 5], work[from + 7], BITS + EXTRA + 5);
    whole[out + row * wide] = limited(ends[0]);
    whole[out + row * wide + 1] = limited(ends[1]);
  }
}

function twoOf(z0, z1, z3, z5, z7, bits) {
  const even = z0 << (BITS + 2);
  const odd = -z7 * 5906 + z5 * 6967 - z3 * 10426 + z1 * 29692;
  return [descaled(even + odd, bits), descaled(even - odd, bits)];
}

function one(blocks, at, table, whole, out) {
  whole[out] = limited(descaled(blocks[at] * table[0], 3));
}
