// The map: MapLibre where there is WebGL, a plain one elsewhere. Both have the methods of `webglMap`'s result.

import { degrees, lines, polygon, unwrapped } from "./shapes.js";
import { colours } from "./theme.js";

const PINS = 60; // results with a number on the map
const NOTHING = { type: "FeatureCollection", features: [] };

/** Return the map of a page, drawn by what the browser has. */
export async function openMap(element, options) {
  if (document.createElement("canvas").getContext("webgl2")) {
    try {
      return await webglMap(element, options);
    } catch (error) {
      console.warn(`MapLibre does not start (${error.message}); the map is a plain one`);
      element.replaceChildren();
    }
  }
  return (await import("./plainmap.js")).plainMap(element, options);
}

function style({ tilesUrl, attribution }) {
  const paint = colours();
  const state = (name) => ["boolean", ["feature-state", name], false];
  const colour = ["case", state("chosen"), paint.chosen, paint.accent];
  const sources = {
    land: { type: "geojson", data: "/page/vendor/land-110m.json" },
    ...Object.fromEntries(["grid", "box"].map((name) => [name, { type: "geojson", data: NOTHING }])),
    hits: { type: "geojson", data: NOTHING, promoteId: "id" },
  };
  const layers = [{ id: "sea", type: "background", paint: { "background-color": paint.sea } }];
  const fade = (most) => ["interpolate", ["linear"], ["zoom"], 5, most, 8, 0]; // coarser than what is seen beyond
  if (tilesUrl) {
    sources.tiles = { type: "raster", tiles: [tilesUrl], tileSize: 256, maxzoom: 19, attribution: attribution ?? "" };
    layers.push({ id: "tiles", type: "raster", source: "tiles" });
  } else {
    layers.push({ id: "land", type: "fill", source: "land", paint: { "fill-color": paint.land, "fill-opacity": fade(1), "fill-antialias": false } });
    layers.push({ id: "coast", type: "line", source: "land", paint: { "line-color": paint.coast, "line-opacity": fade(0.8), "line-width": 0.8 } });
  }
  layers.push(
    { id: "grid", type: "line", source: "grid", paint: { "line-color": paint.grid, "line-width": 1 } },
    { id: "box", type: "fill", source: "box", paint: { "fill-color": paint.accent, "fill-opacity": 0.07 } },
    { id: "box-line", type: "line", source: "box", paint: { "line-color": paint.accent, "line-width": 1.5, "line-dasharray": [3, 2] } },
    { id: "hits", type: "fill", source: "hits", paint: { "fill-color": colour, "fill-opacity": ["case", state("chosen"), 0.4, state("on"), 0.4, 0.16] } },
    { id: "hits-line", type: "line", source: "hits", paint: { "line-color": colour, "line-width": ["case", state("chosen"), 3, state("on"), 3, 1.5] } },
  );
  return { version: 8, sources, layers };
}

async function webglMap(element, options) {
  const { Map, Marker, NavigationControl, ScaleControl } = await import("./vendor/maplibre-gl.mjs");
  const map = new Map({
    container: element, style: style(options), bounds: options.bounds ? unwrapped(options.bounds) : [-150, -55, 150, 70],
    fitBoundsOptions: { padding: 60, maxZoom: 15 }, attributionControl: options.tilesUrl ? { compact: false } : false,
    dragRotate: false, pitchWithRotate: false, touchPitch: false, maxZoom: 19,
  });
  map.touchZoomRotate.disableRotation();
  map.addControl(new NavigationControl({ showCompass: false }), "top-right");
  map.addControl(new ScaleControl(), "bottom-right");
  map.on("error", (event) => console.info(`map: ${event.error?.message}`)); // a tile that does not come is no defect
  await new Promise((resolve) => map.once("load", resolve));

  let hits = [];
  let pins = [];
  let marked = { on: null, chosen: null };
  const view = () => {
    const bounds = map.getBounds();
    return [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
  };
  const drawGrid = () => {
    const { meridians, parallels, step } = lines(view());
    const [west, , east] = view();
    const line = (coordinates) => ({ type: "Feature", properties: {}, geometry: { type: "LineString", coordinates } });
    const features = [...meridians.map((x) => line([[x, -85], [x, 85]])), ...parallels.map((y) => line([[west, y], [east, y]]))];
    map.getSource("grid").setData({ type: "FeatureCollection", features });
    label(meridians, parallels, step);
  };
  const label = (meridians, parallels, step) => {
    const { width, height } = element.getBoundingClientRect();
    const at = (text, css) => Object.assign(document.createElement("span"), { textContent: text, style: css });
    document.getElementById("degrees").replaceChildren(
      ...meridians.map((x) => [x, map.project([x, map.getCenter().lat]).x]).filter(([, left]) => left > 40 && left < width - 130)
        .map(([x, left]) => at(degrees(((((x + 180) % 360) + 360) % 360) - 180, "EW", step), `left:${left}px;bottom:2px`)),
      ...parallels.map((y) => [y, map.project([map.getCenter().lng, y]).y]).filter(([, top]) => top > 20 && top < height - 40)
        .map(([y, top]) => at(degrees(y, "NS", step), `left:2px;top:${top}px`)),
    );
  };
  map.on("move", drawGrid);
  map.on("resize", drawGrid);
  drawGrid();
  map.on("mousemove", "hits", (event) => options.onHover(event.features[0].id));
  map.on("mouseleave", "hits", () => options.onHover(null));
  map.on("click", "hits", (event) => options.onChoose(event.features[0].id));
  map.getCanvas().setAttribute("aria-label", "Map of the results; arrows move it, + and - zoom");

  return {
    show(found) {
      hits = found.filter((hit) => hit.footprint);
      const features = hits.map((hit) => ({ type: "Feature", properties: { id: hit.id }, geometry: hit.footprint })).reverse();
      map.removeFeatureState({ source: "hits" });
      marked = { on: null, chosen: null };
      map.getSource("hits").setData({ type: "FeatureCollection", features });
      for (const pin of pins) pin.remove();
      pins = hits.slice(0, PINS).reverse().map((hit) => { // the best on top
        const [west, south, east, north] = unwrapped(hit.bounds);
        const face = Object.assign(document.createElement("div"), { className: "pin", textContent: hit.rank });
        face.setAttribute("aria-hidden", "true"); // the list says the same
        face.dataset.id = hit.id;
        face.addEventListener("mouseenter", () => options.onHover(hit.id));
        face.addEventListener("mouseleave", () => options.onHover(null));
        face.addEventListener("click", () => options.onChoose(hit.id));
        return new Marker({ element: face }).setLngLat([(west + east) / 2, (south + north) / 2]).addTo(map);
      });
    },
    mark(next) {
      for (const name of ["on", "chosen"]) {
        if (marked[name] !== null) map.setFeatureState({ source: "hits", id: marked[name] }, { [name]: false });
        if (next[name] !== null) map.setFeatureState({ source: "hits", id: next[name] }, { [name]: true });
      }
      marked = { ...next };
      for (const pin of pins) {
        const id = Number(pin.getElement().dataset.id);
        pin.getElement().toggleAttribute("data-on", id === next.on || id === next.chosen);
      }
    },
    box(bounds) {
      map.getSource("box").setData(bounds ? polygon(bounds) : NOTHING);
    },
    fit(bounds, { slowly = true } = {}) {
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches || !slowly;
      const [west, south, east, north] = unwrapped(bounds);
      map.fitBounds([west, Math.max(-85, south), east, Math.min(85, north)], { padding: Math.min(90, element.clientHeight / 5), maxZoom: 14, animate: !still });
    },
    view,
    lonLat: (x, y) => map.unproject([x, y]).toArray(),
    point: (longitude, latitude) => map.project([longitude, latitude]),
    restyle() {
      for (const layer of style(options).layers)
        for (const [name, value] of Object.entries(layer.paint ?? {})) map.setPaintProperty(layer.id, name, value);
    },
    settled: () => map.loaded() && !map.isMoving(),
  };
}
