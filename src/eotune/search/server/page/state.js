// What is searched for, as the page's address has it after the #: so that a search can be kept and shared.

const TEXTS = ["since", "until"];

/** Return the search that an address's hash holds; what has no meaning there is left out. */
export function fromHash(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (name) => {
    const text = given.get(name);
    return text === null || text.trim() === "" || !Number.isFinite(Number(text)) ? null : Number(text);
  };
  const state = { text: given.get("q") ?? "", like: number("like"), k: number("k") ?? 20, min: number("min"), tile: number("tile") };
  for (const name of TEXTS) state[name] = given.get(name) ?? "";
  try {
    state.bbox = parseBox(given.get("bbox") ?? "");
  } catch {
    state.bbox = null;
  }
  return state;
}

/** Return the hash of a search. */
export function toHash(state) {
  const kept = new URLSearchParams();
  if (state.text) kept.set("q", state.text);
  if (state.like !== null) kept.set("like", state.like);
  if (state.bbox) kept.set("bbox", showBox(state.bbox));
  for (const name of TEXTS) if (state[name]) kept.set(name, state[name]);
  if (state.min !== null) kept.set("min", state.min);
  if (state.k !== 20) kept.set("k", state.k);
  if (state.tile !== null) kept.set("tile", state.tile);
  return kept.size ? `#${kept.toString().replaceAll("%2C", ",").replaceAll("+", "%20")}` : "";
}

/** Return what the API is asked: the fields that say something. */
export function toRequest(state) {
  const asked = { k: state.k };
  if (state.text) asked.text = state.text;
  if (state.like !== null) asked.like = state.like;
  if (state.bbox) asked.bbox = state.bbox;
  for (const name of TEXTS) if (state[name]) asked[name] = state[name];
  if (state.min !== null) asked.min_score = state.min;
  return asked;
}

/** Return west, south, east, north as numbers, or null of nothing; throws what is wrong. */
export function parseBox(text) {
  if (!text.trim()) return null;
  const box = text.trim().split(/[\s,;]+/).map(Number);
  if (box.length !== 4 || !box.every(Number.isFinite)) throw new Error("Give four numbers: west, south, east, north.");
  const [west, south, east, north] = box;
  if (Math.max(Math.abs(west), Math.abs(east)) > 180) throw new Error("West and east are -180 to 180 degrees.");
  if (Math.max(Math.abs(south), Math.abs(north)) > 90) throw new Error("South and north are -90 to 90 degrees.");
  if (south > north) throw new Error("South lies below north.");
  return box;
}

/** Return a box as text, as precisely as its size wants. */
export function showBox(box) {
  const [west, south, east, north] = box;
  const side = Math.max(1e-6, Math.min(Math.abs(east - west) || 360, north - south || 180));
  const digits = Math.min(7, Math.max(1, 2 - Math.floor(Math.log10(side))));
  return box.map((value) => Number(value.toFixed(digits))).join(",");
}
