// The page: a search is asked for, its results stand in a list and on a map, and all three follow each other.

import * as api from "./api.js";
import { letDraw } from "./drawing.js";
import { openMap } from "./map.js";
import { make, openResults, save, showDetail, toGeoJson } from "./results.js";
import { around } from "./shapes.js";
import { fromHash, parseBox, showBox, toHash, toRequest } from "./state.js";
import { followTheme } from "./theme.js";

const $ = (id) => document.getElementById(id);
const EXAMPLES = ["storage tanks beside a river", "an airport with several planes", "a dense residential area"];
let state = fromHash(location.hash);
let image = null; // a file searched by; an address cannot hold it
let hits = [];
let about = null;
let map = null;
let drawing = null;
let running = null; // what stops the search that is going on
let marked = { on: null, chosen: null };

const results = openResults($("list"), { hover, choose });

function status(text, bad = false) {
  $("status").textContent = text;
  $("status").parentElement.classList.toggle("bad", bad);
}

function showForm() {
  $("text").value = state.text;
  $("bbox").value = state.bbox ? showBox(state.bbox) : "";
  for (const name of ["since", "until"]) $(name).value = state[name].slice(0, 10);
  $("min").value = state.min ?? "";
  $("k").value = state.k;
  const active = [state.bbox, state.since, state.until, state.min !== null].filter(Boolean).length;
  $("active").hidden = !active;
  $("active").textContent = active;
  $("active").setAttribute("aria-label", `${active} in use`);
  map?.box(state.bbox);
  const chip = (source, words, drop) => {
    const remove = make("button", { type: "button", textContent: "×", "aria-label": `Remove ${words}` });
    remove.addEventListener("click", drop);
    return make("span", { className: "chip" }, make("img", { src: source, alt: "" }), make("span", { textContent: words }), remove);
  };
  const chips = [];
  if (state.like !== null) chips.push(chip(`/api/thumbnail/${state.like}`, `like tile ${state.like}`, () => go({ like: null })));
  if (image) chips.push(chip(image.address, image.file.name, () => { forget(); go({}); }));
  $("chips").replaceChildren(...chips);
}

/** Take the fields' values into the search; false where one has no meaning. */
function readForm() {
  let box;
  try {
    box = parseBox($("bbox").value);
  } catch (error) {
    complain(error.message);
    return false;
  }
  complain("");
  const min = $("min").value === "" ? null : Number($("min").value);
  if (!$("search").reportValidity()) return false;
  const kept = state.bbox && box && showBox(state.bbox) === showBox(box) ? state.bbox : box;
  state = { ...state, text: $("text").value.trim(), bbox: kept, since: $("since").value, until: $("until").value, min, k: Number($("k").value) || 20 };
  return true;
}

function complain(text) {
  $("bbox-error").hidden = !text;
  $("bbox-error").textContent = text;
  $("bbox").setAttribute("aria-invalid", String(Boolean(text)));
  if (text) $("filters").open = true;
}

const asks = () => state.text || state.like !== null || image;

/** Change the search, note it in the address, and run it. */
function go(change, { fit = true } = {}) {
  state = { ...state, tile: null, ...change };
  note(true);
  showForm();
  return run({ fit });
}

function note(anew) {
  const address = location.pathname + toHash(state);
  if (anew && location.hash !== toHash(state)) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

async function run({ fit = true } = {}) {
  running?.abort();
  if (!asks()) return clear();
  const stop = (running = new AbortController());
  document.body.classList.add("loading");
  status("Searching …");
  try {
    const request = toRequest(state);
    if (image) {
      delete request.like;
      show(await api.searchImage(image.file, request, stop.signal), fit);
    } else {
      show(await api.search(request, stop.signal), fit);
    }
  } catch (error) {
    if (error.name === "AbortError") return;
    show({ hits: [] }, false);
    $("empty").replaceChildren();
    status(error.message, true);
  }
  if (running === stop) document.body.classList.remove("loading");
}

function show(answer, fit) {
  hits = answer.hits.map((hit, place) => ({ ...hit, rank: place + 1 }));
  results.show(hits);
  map.show(hits);
  marked = { on: null, chosen: null };
  $("download").hidden = !hits.length;
  const seconds = answer.seconds < 1 ? `${Math.round(answer.seconds * 1000)} ms` : `${answer.seconds?.toFixed(1)} s`;
  status(`${hits.length === 1 ? "1 place" : `${hits.length} places`} in ${seconds}`);
  $("empty").replaceChildren(...(hits.length ? [] : [
    make("h2", { textContent: "Nothing passes these filters" }),
    make("p", { textContent: "Widen the box or the dates, or lower the least score. Tiles without a position or a date pass no filter of those." }),
  ]));
  const box = around(hits.map((hit) => hit.bounds));
  if (fit && box) map.fit(box);
  const wanted = hits.find((hit) => hit.id === state.tile);
  mark({ chosen: wanted ? wanted.id : null });
}

function clear() {
  document.body.classList.remove("loading");
  hits = [];
  results.show([]);
  map.show([]);
  mark({ on: null, chosen: null });
  $("download").hidden = true;
  status("");
  const dates = [about.first, about.last].filter(Boolean).map((time) => time.slice(0, 10));
  const facts = { Images: about.images.toLocaleString("en"), Tiles: about.tiles.toLocaleString("en"), Taken: [...new Set(dates)].join(" to "), Encoder: about.encoder };
  const list = make("dl");
  for (const [name, value] of Object.entries(facts)) if (value) list.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  const buttons = EXAMPLES.map((text) => {
    const button = make("button", { type: "button", textContent: text });
    button.addEventListener("click", () => go({ text }));
    return button;
  });
  $("empty").replaceChildren(
    make("h2", { textContent: "Say what to look for" }),
    make("p", { textContent: "In words, by an image dropped here, or by a tile that is like it." }),
    make("div", { className: "row" }, ...buttons), list,
  );
}

function mark(change) {
  marked = { ...marked, ...change };
  results.mark(marked);
  const known = (id) => (hits.some((hit) => hit.id === id && hit.footprint) ? id : null);
  map.mark({ on: known(marked.on), chosen: known(marked.chosen) });
  if ("chosen" in change) {
    const hit = hits.find((one) => one.id === marked.chosen) ?? null;
    showDetail($("detail"), hit, { close: () => choose(null), like: (one) => like(one), zoom: (one) => map.fit(one.bounds) });
  }
}

function hover(id) {
  if (id !== marked.on) mark({ on: id });
}

function choose(id) {
  mark({ chosen: id });
  state.tile = id;
  note(false);
  if (id !== null) results.reveal(id);
}

function like(hit) {
  forget();
  go({ text: "", like: hit.id });
  $("results").scrollTo({ top: 0 });
}

function forget() {
  if (image) URL.revokeObjectURL(image.address);
  image = null;
  $("file").value = "";
}

function searchBy(file) {
  if (!file) return;
  if (file.size > about.limits.max_image_bytes) {
    status(`${file.name} is larger than ${Math.floor(about.limits.max_image_bytes / 2 ** 20)} MB.`, true);
    return;
  }
  forget();
  image = { file, address: URL.createObjectURL(file) };
  if (readForm()) go({ like: null });
}

function listen() {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    if (readForm()) go({}).then(() => innerWidth <= 720 && $("text").blur());
  });
  for (const name of ["since", "until", "min", "k", "bbox"])
    $(name).addEventListener("change", () => readForm() && go({}, { fit: name !== "min" }));
  $("view").addEventListener("click", () => {
    const [west, south, east, north] = map.view();
    const whole = east - west >= 360;
    const wrap = (x) => ((((x + 180) % 360) + 360) % 360) - 180;
    readForm() && go({ bbox: [whole ? -180 : wrap(west), Math.max(-90, south), whole ? 180 : wrap(east), Math.min(90, north)] }, { fit: false });
  });
  $("unbox").addEventListener("click", () => { complain(""); go({ bbox: null }); });
  drawing = letDraw($("draw"), $("pad"), map, (box) => { map.box(box ?? state.bbox); if (box) go({ bbox: box }, { fit: false }); });
  $("pick").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => searchBy($("file").files[0]));
  $("download").addEventListener("click", () => save(toGeoJson(hits), "places.geojson", "application/geo+json"));
  addEventListener("popstate", () => { state = fromHash(location.hash); forget(); showForm(); run(); });
  const files = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => { if (files(event)) { event.preventDefault(); $("drop").hidden = false; } });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
  addEventListener("drop", (event) => { event.preventDefault(); $("drop").hidden = true; searchBy(event.dataTransfer.files[0]); });
  addEventListener("paste", (event) => searchBy(event.clipboardData?.files[0]));
  addEventListener("keydown", keys);
}

function keys(event) {
  const typing = event.target.matches?.("input, textarea, select");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("text").select();
    $("text").focus();
  } else if (event.key === "ArrowDown" && event.target === $("text") && hits.length) {
    event.preventDefault();
    results.focusFirst();
  } else if (event.key === "m" && !typing && (marked.chosen ?? marked.on) !== null) {
    like(hits.find((hit) => hit.id === (marked.chosen ?? marked.on)));
  } else if (event.key === "Escape") {
    if (drawing.active()) { drawing.end(); map.box(state.bbox); }
    else if (marked.chosen !== null) { const id = marked.chosen; choose(null); results.focusOn(id); }
    else document.activeElement.blur();
  }
}

async function start() {
  followTheme($("theme"), () => map?.restyle());
  try {
    about = await api.summary();
  } catch (error) {
    status(error.message, true);
    return;
  }
  $("archive").textContent = about.name;
  document.title = `${about.name} · eotune search`;
  $("k").max = about.limits.max_k;
  $("text").maxLength = about.limits.max_text;
  state.k = Math.min(state.k, about.limits.max_k);
  map = await openMap($("map"), { bounds: about.bounds, tilesUrl: about.tiles_url, attribution: about.attribution, onHover: hover, onChoose: choose });
  map.restyle();
  listen();
  showForm();
  $("filters").open = innerWidth > 720 && Boolean(state.bbox || state.since || state.until || state.min !== null);
  await run();
  document.body.dataset.ready = "true"; // for tests
}

start();
