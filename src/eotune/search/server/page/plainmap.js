// A map without WebGL: longitude and latitude as x and y, drawn as SVG; drag moves it, the wheel zooms.

import { lines, polygon, unwrapped } from "./shapes.js";

const SVG = "http://www.w3.org/2000/svg";
const draw = (name, attributes) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
};
const path = (geometry) =>
  (geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates).flat()
    .map((ring) => `M${ring.map(([x, y]) => `${x},${-y}`).join("L")}Z`).join("");

export async function plainMap(element, options) {
  const svg = draw("svg", { class: "plain", role: "img", "aria-label": "Map of the results" });
  const [land, grid, box, hits] = ["land", "grid", "box", "hits"].map((name) => svg.appendChild(draw("g", { "data-part": name })));
  const notice = Object.assign(document.createElement("p"), { className: "notice", textContent: "No WebGL here: a plain map." });
  element.replaceChildren(svg, notice);
  const shape = { "vector-effect": "non-scaling-stroke", "stroke-width": 1 };
  const outline = await fetch("/page/vendor/land-110m.json").then((answer) => answer.json());
  land.append(draw("path", { ...shape, d: path(outline.geometry), fill: "var(--land)", stroke: "var(--coast)" }));

  let centre = [0, 10];
  let scale = 0.4; // degrees a pixel
  const size = () => [element.clientWidth || 1, element.clientHeight || 1];
  const view = () => {
    const [width, height] = size();
    return [centre[0] - (width * scale) / 2, centre[1] - (height * scale) / 2, centre[0] + (width * scale) / 2, centre[1] + (height * scale) / 2];
  };
  const lonLat = (x, y) => [view()[0] + x * scale, view()[3] - y * scale];
  const refresh = () => {
    const [west, south, east, north] = view();
    svg.setAttribute("viewBox", `${west} ${-north} ${east - west} ${north - south}`);
    const { meridians, parallels } = lines([west, south, east, north]);
    const line = (x1, y1, x2, y2) => draw("line", { ...shape, x1, y1, x2, y2, stroke: "var(--grid)" });
    grid.replaceChildren(...meridians.map((x) => line(x, -north, x, -south)), ...parallels.map((y) => line(west, -y, east, -y)));
  };
  const zoom = (factor, x, y) => {
    const before = lonLat(x, y);
    scale = Math.min(1, Math.max(1e-6, scale * factor));
    const after = lonLat(x, y);
    centre = [centre[0] + before[0] - after[0], centre[1] + before[1] - after[1]];
    refresh();
  };
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
  }, { passive: false });
  let held = null;
  svg.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY, ...centre]; });
  addEventListener("pointerup", () => { held = null; });
  svg.addEventListener("pointermove", (event) => {
    if (!held) return;
    centre = [held[2] - (event.clientX - held[0]) * scale, held[3] + (event.clientY - held[1]) * scale];
    refresh();
  });
  const fit = (bounds) => {
    const [west, south, east, north] = unwrapped(bounds);
    const [width, height] = size();
    centre = [(west + east) / 2, (south + north) / 2];
    scale = Math.max((east - west) / width, (north - south) / height, 1e-5) * 1.3;
    refresh();
  };
  new ResizeObserver(refresh).observe(element);
  if (options.bounds) fit(options.bounds);
  refresh();

  return {
    show(found) {
      hits.replaceChildren(...found.filter((hit) => hit.footprint).map((hit) => {
        const node = draw("path", { ...shape, d: path(hit.footprint), "data-id": hit.id });
        node.addEventListener("mouseenter", () => options.onHover(hit.id));
        node.addEventListener("mouseleave", () => options.onHover(null));
        node.addEventListener("click", () => options.onChoose(hit.id));
        return node;
      }));
      this.mark({ on: null, chosen: null });
    },
    mark({ on, chosen }) {
      for (const node of hits.children) {
        const id = Number(node.dataset.id);
        const colour = id === chosen ? "var(--chosen)" : "var(--accent)";
        const strong = id === chosen || id === on;
        for (const [name, value] of Object.entries({ fill: colour, stroke: colour, "fill-opacity": strong ? 0.4 : 0.16, "stroke-width": strong ? 3 : 1.5 })) node.setAttribute(name, value);
      }
    },
    box(bounds) {
      box.replaceChildren(...(bounds ? [draw("path", { ...shape, d: path(polygon(bounds).geometry), fill: "none", stroke: "var(--accent)", "stroke-dasharray": "6 4" })] : []));
    },
    fit,
    view,
    lonLat,
    point: (longitude, latitude) => ({ x: (longitude - view()[0]) / scale, y: (view()[3] - latitude) / scale }),
    restyle() {},
    settled: () => true,
  };
}
