/** An event as the collector reads it: the query string of GET /csc-event. */

/** A lone half of a surrogate pair has no UTF-8; encodeURIComponent would throw. */
const wellFormed = (text) => text.replace(/[\ud800-\udfff]/gu, "\ufffd");

const escaped = (text) => `${text.replace(/[~!]/g, "~$&")}!`;

/** One record: its type, the field's name if it is in an object, and its payload. `value` is plain JSON data. */
function record(value, name) {
  const field = name === undefined ? "" : escaped(name);
  if (value === null) return `n${field}`;
  if (value === true) return `t${field}`;
  if (value === false) return `f${field}`;
  if (typeof value === "string") return `s${field}${escaped(value)}`;
  if (typeof value === "number") {
    return Number.isSafeInteger(value) ? `d${field}${value.toString(36)}!` : `j${field}${value}!`;
  }
  if (Array.isArray(value)) return `a${field}${value.map((one) => record(one)).join("")}.`;
  return `(${field}${Object.keys(value).map((key) => record(value[key], key)).join("")})`;
}

/**
 * Mincode of what JSON can say; undefined for what has no JSON, such as undefined itself or a function.
 * Throws where JSON.stringify throws: on cycles and BigInt.
 */
export function mincode(value) {
  const json = JSON.stringify(value);
  return json === undefined ? undefined : record(JSON.parse(json));
}

const rotated = (number, bits) => (number << bits) | (number >>> (32 - bits));
const scrambled = (block) => Math.imul(rotated(Math.imul(block, 0xcc9e2d51), 15), 0x1b873593);

/** Murmur3-32 with seed 0, signed, of a text's UTF-8. https://github.com/aappleby/smhasher, MurmurHash3_x86_32. */
export function murmur3(text) {
  const bytes = new TextEncoder().encode(text);
  const whole = bytes.length & ~3;
  let hash = 0;
  for (let at = 0; at < whole; at += 4) {
    const block = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    hash = (Math.imul(rotated(hash ^ scrambled(block), 13), 5) + 0xe6546b64) | 0;
  }
  let rest = 0;
  for (let at = bytes.length - 1; at >= whole; at -= 1) rest = (rest << 8) | bytes[at];
  hash ^= scrambled(rest) ^ bytes.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** The query string of these fields, with its checksum `x`. Numbers become base 36; undefined, null and NaN are left out. */
export function query(fields) {
  const texts = {};
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (value === undefined || value === null || Number.isNaN(value)) continue;
    texts[name] = typeof value === "number" ? value.toString(36) : wellFormed(String(value));
  }
  const canonical = Object.keys(texts).sort().map((name) => `${name}=${texts[name]},;`).join("");
  texts.x = murmur3(canonical).toString(36);
  return Object.keys(texts).map((name) => `${name}=${encodeURIComponent(texts[name])}`).join("&");
}

const withoutQuery = (address) => address.replace(/[?#].*$/s, "");

/** `query(fields)` of at most `limit` characters where that is possible: without the referer, then more. */
export function shortQuery(fields, limit) {
  let text = query(fields);
  const shorter = { ...fields };
  for (const [name, change] of [["r", () => undefined], ["l", withoutQuery], ["u", () => undefined]]) {
    if (text.length <= limit) break;
    shorter[name] = change(shorter[name]);
    text = query(shorter);
  }
  return text;
}
