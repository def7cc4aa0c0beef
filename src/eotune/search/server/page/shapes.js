// Geometry in degrees: boxes, the grid of meridians and parallels, what goes across the antimeridian.

const STEPS = [45, 30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

/** Return a longitude between -180 and 180. */
export const wrap = (longitude) => (Math.abs(longitude) <= 180 ? longitude : ((((longitude + 180) % 360) + 360) % 360) - 180);

/** Return bounds with east beyond 180 where they lie across the antimeridian. */
export const unwrapped = ([west, south, east, north]) => [west, south, east < west ? east + 360 : east, north];

/** Return a box as a polygon of GeoJSON. */
export function polygon(bounds) {
  const [west, south, east, north] = unwrapped(bounds);
  const ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
  return { type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [ring] } };
}

/** Return the box of two corners that were drawn; all the way round the Earth is -180 to 180. */
export function boxOf([x0, y0], [x1, y1]) {
  const [west, east] = [Math.min(x0, x1), Math.max(x0, x1)];
  const latitude = (value) => Math.max(-90, Math.min(90, value));
  const sides = east - west >= 360 ? [-180, 180] : [wrap(west), wrap(east)];
  return [sides[0], latitude(Math.min(y0, y1)), sides[1], latitude(Math.max(y0, y1))];
}

/** Return the smallest box around many. */
export function around(boxes) {
  const known = boxes.filter(Boolean).map(unwrapped);
  if (!known.length) return null;
  // Those east of the antimeridian are moved beside those west of it, where that makes the box smaller.
  const span = (all) => [Math.min(...all.map((box) => box[0])), Math.max(...all.map((box) => box[2]))];
  const moved = known.map((box) => (box[0] < 0 ? [box[0] + 360, box[1], box[2] + 360, box[3]] : box));
  const [plain, other] = [span(known), span(moved)];
  const [west, east] = other[1] - other[0] < plain[1] - plain[0] ? other : plain;
  return [west, Math.min(...known.map((box) => box[1])), east, Math.max(...known.map((box) => box[3]))];
}

/** Return how many degrees apart lines are, so that some eight cross a view so many degrees wide. */
export const stepFor = (degrees) => STEPS.find((step) => degrees / step >= 5) ?? STEPS.at(-1);

/** Return the meridians and parallels through a view. */
export function lines([west, south, east, north]) {
  const step = stepFor(east - west);
  const through = (from, to) => {
    const found = [];
    for (let n = Math.ceil(from / step); n * step <= to && found.length < 200; n++) found.push(Number((n * step).toFixed(6)));
    return found;
  };
  return { meridians: through(west, east), parallels: through(Math.max(-85, south), Math.min(85, north)), step };
}

/** Return an angle as 12.5°E. */
export function degrees(value, [positive, negative], step) {
  const digits = Math.max(0, Math.ceil(-Math.log10(step)));
  return `${Math.abs(value).toFixed(digits)}°${value > 0 ? positive : value < 0 ? negative : ""}`;
}
