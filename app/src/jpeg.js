// Whether all of a JPEG is there. Browsers decode what they can, and fill the rest with grey; a JPEG has no checksum.
// After lost or overwritten bytes the Huffman codes hold too few or too many blocks: so these are counted, as
// lesionedge/jpeg_scan.py finds it by how much a decoder reads. (ITU-T T.81, annexes B, C and F.)

const TAIL_BYTES = 64; // some cameras pad the scan before its end
const isStandalone = (marker) => marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8);
const isFrame = (marker) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
const isRestart = (marker) => marker >= 0xd0 && marker <= 0xd7;

/** Walk a JPEG's segments: {size, whole}. The size is in its frame. Bytes between segments are skipped. */
export function jpeg(view) {
  const state = { frame: null, tables: new Map(), interval: 0, whole: true, scanned: new Set() };
  const size = () => state.frame && [state.frame.width, state.frame.height];
  for (let at = 2; at < view.byteLength - 1;) {
    const marker = view.getUint8(at + 1);
    if (view.getUint8(at) !== 0xff || marker === 0) {
      at += 1;
      continue;
    }
    if (marker === 0xd9) return { size: size(), whole: state.frame !== null && state.whole };
    if (marker === 0xff || isStandalone(marker)) {
      at += marker === 0xff ? 1 : 2;
      continue;
    }
    const next = at + 2 + view.getUint16(at + 2);
    take(state, marker, view, at + 4, next);
    at = next;
    if (marker === 0xda) {
      at = afterScan(view, next);
      state.whole &&= isWhole(state, state.scan, bytesOf(view, next, at));
      for (const { id } of state.scan) state.scanned.add(id);
    }
  }
  return { size: size(), whole: hasAll(state) };
}

/** Return whether a file without a marker at its end is whole: some cameras leave the marker out. */
const hasAll = ({ frame, scanned, whole }) => Boolean(frame?.isSequential && scanned.size === frame.parts.size && whole);

const bytesOf = (view, from, to) => new Uint8Array(view.buffer, view.byteOffset + from, to - from);

/** Return where a JPEG's next marker is: within a scan, 0xff comes before a zero or a restart. */
function afterScan(view, start) {
  let at = start;
  for (; at < view.byteLength - 1; at += 1) {
    if (view.getUint8(at) !== 0xff) continue;
    const next = view.getUint8(at + 1);
    if (next !== 0 && next !== 0xff && !isRestart(next)) return at;
  }
  return view.byteLength;
}

/** Remember what a segment says. */
function take(state, marker, view, at, end) {
  if (isFrame(marker)) state.frame = frameOf(marker, view, at);
  if (marker === 0xc4) for (const [name, table] of tablesOf(view, at, end)) state.tables.set(name, table);
  if (marker === 0xdd) state.interval = view.getUint16(at);
  if (marker === 0xda) {
    state.scan = Array.from({ length: view.getUint8(at) }, (_, i) => (
      { id: view.getUint8(at + 1 + 2 * i), uses: view.getUint8(at + 2 + 2 * i) }));
  }
}

function frameOf(marker, view, at) {
  const parts = new Map();
  for (let i = 0; i < view.getUint8(at + 5); i += 1) {
    const place = at + 6 + 3 * i;
    const factors = view.getUint8(place + 1);
    parts.set(view.getUint8(place), { across: factors >> 4, down: factors & 15 });
  }
  return { isSequential: marker <= 0xc1, height: view.getUint16(at + 1), width: view.getUint16(at + 3), parts };
}

/** Yield Huffman tables by class and number: for the next 16 bits, the code's length and symbol. */
function* tablesOf(view, start, end) {
  for (let at = start; at < end;) {
    const name = view.getUint8(at);
    const table = new Uint16Array(0x10000);
    let [code, symbol] = [0, at + 17];
    for (let length = 1; length <= 16; length += 1) {
      const step = 0x10000 >> length;
      for (let i = view.getUint8(at + length); i > 0; i -= 1, symbol += 1, code += step) {
        table.fill((length << 8) | view.getUint8(symbol), code, code + step);
      }
    }
    yield [name, table];
    at = symbol;
  }
}

/** Return whether a scan's codes make as many blocks as it must have; true where this is not known. */
function isWhole({ frame, tables, interval }, scan, data) {
  if (!frame?.isSequential || !frame.height) return true;
  const parts = scan.map(({ id, uses }) => ({
    ...frame.parts.get(id), dc: tables.get(uses >> 4), ac: tables.get(0x10 | (uses & 15)),
  }));
  if (!parts.every(({ across, down, dc, ac }) => across && down && dc && ac)) return true;
  const units = scan.length > 1 ? interleaved(frame, parts) : alone(frame, parts[0]);
  let left = units.count;
  for (const part of intervalsOf(data)) {
    const count = interval ? Math.min(interval, left) : left;
    if (!count || !hasUnits(part, count, units.blocks)) return false;
    left -= count;
  }
  return left === 0;
}

const most = (frame, key) => Math.max(...[...frame.parts.values()].map((part) => part[key]));
const up = (value, by) => Math.ceil(value / by);

/** Return how many units a scan of several components has, and the tables of each unit's blocks. */
function interleaved(frame, parts) {
  const count = up(frame.width, 8 * most(frame, "across")) * up(frame.height, 8 * most(frame, "down"));
  return { count, blocks: parts.flatMap((part) => Array(part.across * part.down).fill(part)) };
}

function alone(frame, part) {
  const wide = up(frame.width * part.across, most(frame, "across"));
  const high = up(frame.height * part.down, most(frame, "down"));
  return { count: up(wide, 8) * up(high, 8), blocks: [part] };
}

/** Yield the coded bytes between restarts, without stuffing: {bytes, length}. */
function* intervalsOf(data) {
  const bytes = new Uint8Array(data.length + 4);
  let length = 0;
  for (let at = 0; at < data.length; at += 1) {
    if (data[at] !== 0xff) {
      bytes[length] = data[at];
      length += 1;
      continue;
    }
    const next = data[at + 1];
    if (next === 0xff) continue; // fill
    at += 1;
    if (next === 0) {
      bytes[length] = 0xff;
      length += 1;
    } else {
      yield { bytes, length };
      bytes.fill(0, 0, 4);
      length = 0;
    }
  }
  yield { bytes, length };
}

/** Return whether coded bytes hold exactly so many units. */
function hasUnits({ bytes, length }, count, blocks) {
  let bit = 0;
  const ahead = () => {
    const at = bit >> 3;
    return (((bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2]) >> (8 - (bit & 7))) & 0xffff;
  };
  for (let unit = 0; unit < count; unit += 1) {
    for (const { dc, ac } of blocks) {
      let found = dc[ahead()];
      bit += (found >> 8) + (found & 15);
      for (let place = 1; place < 64 && found; place += 1) {
        found = ac[ahead()];
        bit += (found >> 8) + (found & 15);
        if (found & 15) place += (found >> 4) & 15;
        else if ((found & 0xff) === 0xf0) place += 15;
        else break;
      }
      if (!found || bit > length * 8) return false;
    }
  }
  const rest = bytes.subarray(bit >> 3, length);
  return rest.length <= TAIL_BYTES || rest.subarray(1).every((byte) => byte === rest[1]);
}
