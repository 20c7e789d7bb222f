// The DCT coefficients of a JPEG's first component (ITU-T T.81): Huffman coded, sequential or progressive.

const ZIGZAG = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

// { width, height, across, down, blocks, quantisation }, blocks as they are coded, in natural order; null for other codings.
export function coefficientsOf(bytes) {
  const picture = { components: [], tables: new Map(), huffman: new Map(), restart: 0 };
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff) return null;
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at += 1;
      continue;
    }
    if (marker === 0xd9) break;
    const end = at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
    const body = bytes.subarray(at + 4, end);
    at = end;
    if (marker === 0xdb) quantisation(body, picture.tables);
    else if (marker === 0xc4) huffman(body, picture.huffman);
    else if (marker === 0xdd) picture.restart = (body[0] << 8) | body[1];
    else if (marker >= 0xc0 && marker <= 0xc2) {
      if (!frame(body, picture, marker === 0xc2)) return null;
    } else if (marker >= 0xc3 && marker <= 0xcf && marker !== 0xc8 && marker !== 0xcc) return null;
    else if (marker === 0xe0) picture.isJfif ||= startsWith(body, "JFIF");
    else if (marker === 0xee && startsWith(body, "Adobe")) picture.transform = body[11];
    else if (marker === 0xda) at = scan(bytes, end, body, picture);
  }
  const [first] = picture.components;
  if (!first || isRgb(picture)) return null;
  const { width, height } = picture;
  return { width, height, across: first.across, down: first.down, blocks: first.blocks, quantisation: picture.tables.get(first.table) };
}

// Red is no brightness; which of the two it is, libjpeg decides so (jdapimin.c).
function isRgb({ components, isJfif, transform }) {
  if (components.length < 3 || isJfif) return false;
  if (transform !== undefined) return transform === 0;
  return String.fromCharCode(...components.map(({ name }) => name)) === "RGB";
}

const startsWith = (body, word) => String.fromCharCode(...body.subarray(0, word.length)) === word;

function quantisation(body, tables) {
  for (let at = 0; at < body.length; ) {
    const wide = body[at] >> 4;
    const table = new Int32Array(64);
    const name = body[at++] & 15;
    for (let index = 0; index < 64; index++) {
      table[ZIGZAG[index]] = wide ? (body[at] << 8) | body[at + 1] : body[at];
      at += wide ? 2 : 1;
    }
    tables.set(name, table);
  }
}

// Annex C: for each length the first code, and where its values begin.
function huffman(body, tables) {
  for (let at = 0; at < body.length; ) {
    const name = body[at];
    const counts = body.subarray(at + 1, at + 17);
    const values = body.subarray(at + 17, at + 17 + counts.reduce((sum, one) => sum + one, 0));
    const table = { first: new Int32Array(17), past: new Int32Array(17).fill(-1), start: new Int32Array(17), values };
    for (let length = 1, code = 0, start = 0; length <= 16; length++) {
      table.first[length] = code;
      table.start[length] = start;
      code += counts[length - 1];
      start += counts[length - 1];
      table.past[length] = code;
      code <<= 1;
    }
    tables.set(name, table);
    at += 17 + values.length;
  }
}

function frame(body, picture, progressive) {
  if (body[0] !== 8 || (body[5] !== 1 && body[5] !== 3)) return false;
  Object.assign(picture, { height: (body[1] << 8) | body[2], width: (body[3] << 8) | body[4], progressive });
  for (let at = 6; at < 6 + 3 * body[5]; at += 3)
    picture.components.push({ name: body[at], h: body[at + 1] >> 4, v: body[at + 1] & 15, table: body[at + 2] });
  picture.mostH = Math.max(...picture.components.map(({ h }) => h));
  picture.mostV = Math.max(...picture.components.map(({ v }) => v));
  picture.mcusAcross = Math.ceil(picture.width / (8 * picture.mostH));
  picture.mcusDown = Math.ceil(picture.height / (8 * picture.mostV));
  for (const one of picture.components) {
    one.across = picture.mcusAcross * one.h;
    one.down = picture.mcusDown * one.v;
    one.usedAcross = Math.ceil((Math.ceil(picture.width * one.h) / picture.mostH) / 8);
    one.usedDown = Math.ceil((Math.ceil(picture.height * one.v) / picture.mostV) / 8);
    one.blocks = new Int16Array(64 * one.across * one.down);
  }
  const [first] = picture.components;
  return first.h === picture.mostH && first.v === picture.mostV && picture.width > 0 && picture.height > 0;
}

class Bits {
  constructor(bytes, at) {
    Object.assign(this, { bytes, at, held: 0, count: 0 });
  }

  bit() {
    if (!this.count) {
      const byte = this.bytes[this.at];
      // Behind a marker, or the end, there are zeros.
      if (byte === undefined || (byte === 0xff && this.bytes[this.at + 1] !== 0)) this.held = 0;
      else {
        this.held = byte;
        this.at += byte === 0xff ? 2 : 1;
      }
      this.count = 8;
    }
    this.count -= 1;
    return (this.held >> this.count) & 1;
  }

  take(count) {
    let value = 0;
    for (let index = 0; index < count; index++) value = (value << 1) | this.bit();
    return value;
  }

  // A signed value of `count` bits (F.2.2.1, EXTEND).
  signed(count) {
    if (!count) return 0;
    const value = this.take(count);
    return value < 1 << (count - 1) ? value - (1 << count) + 1 : value;
  }

  symbol({ first, past, start, values }) {
    for (let code = 0, length = 1; length <= 16; length++) {
      code = (code << 1) | this.bit();
      if (code < past[length]) return values[start[length] + code - first[length]];
    }
    throw new Error("no such Huffman code");
  }

  restart() {
    this.count = 0;
    while (this.at + 1 < this.bytes.length && !(this.bytes[this.at] === 0xff && this.bytes[this.at + 1] >= 0xd0 && this.bytes[this.at + 1] <= 0xd7)) {
      if (this.bytes[this.at] === 0xff && this.bytes[this.at + 1] !== 0 && this.bytes[this.at + 1] !== 0xff) return;
      this.at += 1;
    }
    this.at += 2;
  }
}

function scan(bytes, start, body, picture) {
  const parts = Array.from({ length: body[0] }, (_, part) => {
    const component = picture.components.find(({ name }) => name === body[1 + 2 * part]);
    const tables = body[2 + 2 * part];
    return { component, dc: picture.huffman.get(tables >> 4), ac: picture.huffman.get(0x10 | (tables & 15)), before: 0 };
  });
  const [from, to, approximation] = body.subarray(1 + 2 * body[0]);
  const bits = new Bits(bytes, start);
  const state = { bits, from, to: picture.progressive ? to : 63, high: approximation >> 4, low: approximation & 15, run: 0 };
  const decode = picture.progressive ? progressive(state) : sequential;
  const alone = parts.length === 1;
  const [{ component }] = parts;
  const across = alone ? component.usedAcross : picture.mcusAcross;
  const units = across * (alone ? component.usedDown : picture.mcusDown);
  for (let unit = 0; unit < units; unit++) {
    if (picture.restart && unit && unit % picture.restart === 0) {
      bits.restart();
      state.run = 0;
      for (const part of parts) part.before = 0;
    }
    const x = unit % across;
    const y = Math.floor(unit / across);
    if (alone) decode(parts[0], state, 64 * (y * component.across + x));
    else for (const part of parts) interleaved(part, state, x, y, decode);
  }
  let at = bits.at;
  while (at + 1 < bytes.length && (bytes[at] !== 0xff || bytes[at + 1] === 0 || (bytes[at + 1] >= 0xd0 && bytes[at + 1] <= 0xd7))) at += 1;
  return at;
}

function interleaved(part, state, x, y, decode) {
  const { h, v, across } = part.component;
  for (let row = 0; row < v; row++)
    for (let column = 0; column < h; column++) decode(part, state, 64 * ((y * v + row) * across + x * h + column));
}

function sequential(part, { bits }, block) {
  const { blocks } = part.component;
  part.before += bits.signed(bits.symbol(part.dc));
  blocks[block] = part.before;
  for (let index = 1; index < 64; index++) {
    const symbol = bits.symbol(part.ac);
    const size = symbol & 15;
    if (!size && symbol !== 0xf0) return;
    index += symbol >> 4;
    if (size) blocks[block + ZIGZAG[index & 63]] = bits.signed(size);
  }
}

// Annex G.
function progressive({ from, high }) {
  if (!from) return high ? refineDc : firstDc;
  return high ? refineAc : firstAc;
}

function firstDc(part, { bits, low }, block) {
  part.before += bits.signed(bits.symbol(part.dc));
  part.component.blocks[block] = part.before << low;
}

function refineDc(part, { bits, low }, block) {
  part.component.blocks[block] |= bits.bit() << low;
}

function firstAc(part, state, block) {
  const { bits, from, to, low } = state;
  if (state.run) {
    state.run -= 1;
    return;
  }
  for (let index = from; index <= to; index++) {
    const symbol = bits.symbol(part.ac);
    const [skip, size] = [symbol >> 4, symbol & 15];
    if (!size && skip < 15) {
      state.run = (1 << skip) - 1 + bits.take(skip);
      return;
    }
    index += skip;
    if (size) part.component.blocks[block + ZIGZAG[index & 63]] = bits.signed(size) << low;
  }
}

function refineAc(part, state, block) {
  const { bits, from, to, low } = state;
  const { blocks } = part.component;
  const step = 1 << low;
  const refine = (place) => {
    if (bits.bit() && !(blocks[place] & step && Math.abs(blocks[place]) & step)) blocks[place] += blocks[place] > 0 ? step : -step;
  };
  let index = from;
  while (!state.run && index <= to) {
    const symbol = bits.symbol(part.ac);
    let skip = symbol >> 4;
    let value = 0;
    if (symbol & 15) value = bits.bit() ? step : -step;
    else if (skip < 15) {
      state.run = (1 << skip) + bits.take(skip);
      break;
    }
    for (; index <= to; index++) {
      const place = block + ZIGZAG[index];
      if (blocks[place]) refine(place);
      else if (!skip--) {
        if (value) blocks[place] = value;
        index += 1;
        break;
      }
    }
  }
  if (!state.run) return;
  for (; index <= to; index++) if (blocks[block + ZIGZAG[index]]) refine(block + ZIGZAG[index]);
  state.run -= 1;
}
