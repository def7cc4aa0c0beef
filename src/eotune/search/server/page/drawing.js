// A box drawn over the map, by mouse, pen or finger.

import { boxOf } from "./shapes.js";

const LEAST = 5; // pixels: less is a slip of the hand

/** Let a button start drawing on `pad`, which lies over the map; `drawn` gets the box. */
export function letDraw(button, pad, map, drawn) {
  let start = null;
  const at = (event) => {
    const edge = pad.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top];
  };
  const box = (event) => boxOf(map.lonLat(...start), map.lonLat(...at(event)));
  const end = () => {
    start = null;
    pad.hidden = true;
    button.setAttribute("aria-pressed", "false");
  };
  button.addEventListener("click", () => {
    pad.hidden = !pad.hidden;
    button.setAttribute("aria-pressed", String(!pad.hidden));
  });
  pad.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    pad.setPointerCapture(event.pointerId);
    start = at(event);
  });
  pad.addEventListener("pointermove", (event) => {
    if (start) map.box(box(event));
  });
  pad.addEventListener("pointercancel", () => { start = null; });
  pad.addEventListener("pointerup", (event) => {
    if (!start) return;
    const [x, y] = at(event);
    const small = Math.abs(x - start[0]) < LEAST || Math.abs(y - start[1]) < LEAST;
    const found = small ? null : box(event);
    end();
    drawn(found);
  });
  return { end, active: () => !pad.hidden };
}
