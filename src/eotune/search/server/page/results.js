// What was found: a grid of pictures, and the one that is chosen beside the map.

/** Return an element with properties, and children. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

const file = (hit) => hit.path.split("/").at(-1);
const day = (hit) => hit.time?.slice(0, 10) ?? "";

function picture(hit) {
  const image = make("img", { src: hit.thumbnail, alt: "", loading: "lazy", decoding: "async" });
  const frame = make("span", { className: "frame" }, image);
  image.addEventListener("error", () => image.replaceWith(make("span", { className: "gone", textContent: "no picture" })));
  return frame;
}

function card(hit) {
  const frame = picture(hit);
  frame.append(make("span", { className: "rank", textContent: hit.rank }));
  const name = make("span", { className: "name", textContent: file(hit), title: hit.path });
  const score = make("span", { className: "score", textContent: hit.score.toFixed(3) });
  const label = `${hit.rank}: ${file(hit)}, score ${hit.score.toFixed(3)}${day(hit) && `, ${day(hit)}`}${hit.footprint ? "" : ", no position"}`;
  const button = make("button", { type: "button", className: "card", tabIndex: -1, "aria-label": label }, frame, make("span", { className: "line" }, name, score));
  button.dataset.id = hit.id;
  return button;
}

/** Show results in `list`; `on` has hover(id or null), choose(id), like(hit), close(). */
export function openResults(list, on) {
  const cards = () => [...list.querySelectorAll(".card")];
  const target = (event) => event.target.closest?.(".card");
  const id = (button) => (button ? Number(button.dataset.id) : null);
  list.addEventListener("mouseover", (event) => on.hover(id(target(event))));
  list.addEventListener("mouseleave", () => on.hover(null));
  list.addEventListener("focusin", (event) => on.hover(id(target(event))));
  list.addEventListener("click", (event) => target(event) && on.choose(id(target(event))));
  list.addEventListener("keydown", (event) => {
    const all = cards();
    const now = all.indexOf(document.activeElement);
    const columns = Math.max(1, all.filter((one) => one.offsetTop === all[0].offsetTop && one.parentElement.offsetTop === all[0].parentElement.offsetTop).length);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -all.length, End: all.length }[event.key];
    if (now < 0 || !step) return;
    event.preventDefault();
    focus(all[Math.max(0, Math.min(all.length - 1, now + step))]);
  });
  const focus = (button) => {
    for (const one of cards()) one.tabIndex = one === button ? 0 : -1;
    button?.focus();
    button?.scrollIntoView({ block: "nearest" });
  };
  return {
    show(hits) {
      list.replaceChildren(...hits.map((hit) => make("li", {}, card(hit))));
      const first = list.querySelector(".card");
      if (first) first.tabIndex = 0; // the others by arrows
    },
    mark(marked) {
      for (const one of cards()) {
        one.toggleAttribute("data-on", id(one) === marked.on);
        if (id(one) === marked.chosen) one.setAttribute("aria-current", "true");
        else one.removeAttribute("aria-current");
      }
    },
    reveal: (tile) => list.querySelector(`[data-id="${tile}"]`)?.scrollIntoView({ block: "nearest" }),
    focusFirst: () => focus(cards()[0]),
    focusOn: (tile) => focus(list.querySelector(`[data-id="${tile}"]`)),
  };
}

/** Show a tile in `panel`, or nothing of null. */
export function showDetail(panel, hit, on) {
  panel.hidden = hit === null;
  if (hit === null) return panel.replaceChildren();
  const rows = { Score: hit.score?.toFixed(4), Taken: hit.time?.replace("T00:00:00Z", "").replace("T", " ").replace("Z", " UTC") };
  if (hit.bounds) {
    const [west, south, east, north] = hit.bounds;
    const longitude = east < west ? (((west + east + 360) / 2 + 540) % 360) - 180 : (west + east) / 2;
    rows.Centre = `${((south + north) / 2).toFixed(4)}, ${longitude.toFixed(4)}`;
  } else {
    rows.Place = "not known";
  }
  rows.Window = `${hit.window[2]} × ${hit.window[3]} at ${hit.window[0]}, ${hit.window[1]}`;
  const list = make("dl");
  for (const [name, value] of Object.entries(rows)) if (value) list.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  const close = make("button", { type: "button", className: "icon close", textContent: "×", "aria-label": "Close" });
  close.addEventListener("click", on.close);
  const like = make("button", { type: "button", className: "primary", textContent: "More like this" });
  like.addEventListener("click", () => on.like(hit));
  const zoom = make("button", { type: "button", textContent: "Zoom to it", disabled: !hit.bounds });
  zoom.addEventListener("click", () => on.zoom(hit));
  return panel.replaceChildren(close, picture(hit), make("h2", { textContent: hit.path }), list, make("div", { className: "row" }, like, zoom));
}

/** Return results as a GeoJSON feature collection, as `eotune query --out` writes it. */
export function toGeoJson(hits) {
  const features = hits.map(({ id, score, path, window, time, footprint }) => ({
    type: "Feature", id, geometry: footprint, properties: { id, score, path, window, time },
  }));
  return JSON.stringify({ type: "FeatureCollection", features });
}

/** Let the browser save a text as a file. */
export function save(text, name, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
