// Light, dark, or as the system has it; and the colours of the page for what is not drawn by CSS.

const ORDER = ["auto", "light", "dark"];
const WORDS = { auto: "as the system has it", light: "light", dark: "dark" };
const KEY = "eotune-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

/** Let a button go through the themes; calls `changed` whenever the colours are others. */
export function followTheme(button, changed) {
  let theme = ORDER.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "auto";
  const apply = () => {
    const root = document.documentElement;
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.dataset.theme = theme;
    root.dataset.shade = theme === "dark" || (theme === "auto" && system.matches) ? "dark" : "light";
    button.setAttribute("aria-label", `Theme: ${WORDS[theme]}`);
    button.title = `Theme: ${WORDS[theme]}`;
    changed();
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    localStorage.setItem(KEY, theme);
    apply();
  });
  system.addEventListener("change", apply);
  apply();
}

/** Return the page's colours as rgb(...), whichever theme it has. */
export function colours() {
  const probe = document.body.appendChild(document.createElement("i"));
  const found = {};
  for (const name of ["sea", "land", "coast", "grid", "accent", "chosen"]) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}
