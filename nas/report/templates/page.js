"use strict";

// Tables: a click on a header, or Enter on it, sorts by that column; up, down, and as it was.
const number = (text) => parseFloat(text.replace("−", "-").match(/^[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i)?.[0]);

function sorted(rows, column, sign) {
  const text = (row) => row.cells[column].textContent.trim();
  const given = rows.filter((row) => text(row) !== "–");
  const numeric = given.every((row) => !Number.isNaN(number(text(row))));
  const compare = numeric
    ? (a, b) => number(text(a)) - number(text(b))
    : (a, b) => text(a).localeCompare(text(b), "en", { numeric: true });
  given.sort((a, b) => sign * compare(a, b));
  return [...given, ...rows.filter((row) => text(row) === "–")];
}

for (const table of document.querySelectorAll("main table")) {
  const [head, body] = [table.tHead.rows[0], table.tBodies[0]];
  const original = [...body.rows];
  if (original.length < 2) continue;
  for (const cell of head.cells) {
    const button = document.createElement("button");
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" }[cell.getAttribute("aria-sort")] ?? "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      if (next !== "none") cell.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      body.append(...(next === "none" ? original : sorted(original, cell.cellIndex, sign)));
    });
  }
}

// Boxes that scroll can be scrolled by the keyboard.
function reachable() {
  for (const box of document.querySelectorAll(".scroll")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
addEventListener("resize", reachable);

// Animations: the last frame stands there until the picture comes into view; then it plays, once, and by its button again.
const still = matchMedia("(prefers-reduced-motion: reduce)");
let plays = 0;

function play(image) {
  image.src = `${image.dataset.moving}#${++plays}`; // another address each time, or the browser would show the end
}

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      if (!still.matches) play(entry.target);
    }
  },
  { threshold: 0.5 },
);
for (const image of document.querySelectorAll("img[data-moving]")) {
  const button = document.createElement("button");
  button.textContent = still.matches ? "Play" : "Play again";
  button.setAttribute("aria-label", `${button.textContent}: ${image.alt}`);
  button.addEventListener("click", () => play(image));
  image.closest(".picture").append(button);
  seen.observe(image);
}

// Contents: on a phone they close when a heading is chosen; on a desk they follow the reader.
const narrow = document.querySelector("details.contents");
narrow.addEventListener("click", (event) => {
  if (event.target.closest("a")) narrow.open = false;
});
const wide = document.querySelector("nav.contents");
const links = new Map([...wide.querySelectorAll("a")].map((link) => [decodeURIComponent(link.hash.slice(1)), link]));
const headings = [...document.querySelectorAll("main :is(h2, h3)[id]")].filter((heading) => links.has(heading.id));

function follow() {
  const above = headings.filter((heading) => heading.getBoundingClientRect().top < innerHeight / 3);
  const link = links.get(above.at(-1)?.id);
  for (const other of links.values()) if (other !== link) other.removeAttribute("aria-current");
  if (!link || link.hasAttribute("aria-current")) return;
  link.setAttribute("aria-current", "true");
  wide.scrollTop = link.offsetTop - wide.clientHeight / 2;
}
addEventListener("scroll", follow, { passive: true });

// Charts: each stands in the place of a picture of the same numbers, which stays below it.
const dark = matchMedia("(prefers-color-scheme: dark)");
const given = document.getElementById("charts");
const { charts, colours } = given ? JSON.parse(given.textContent) : { charts: {} };

function theme(width) {
  const [ink, line] = dark.matches ? ["#dcdcdc", "#3a3d44"] : ["#333", "#e4e4e4"];
  const axis = { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line };
  return {
    background: null,
    view: { stroke: null },
    range: { category: dark.matches ? colours.dark : colours.light },
    axis: { ...axis, labelFontSize: 12, titleFontSize: 13, titleFontWeight: "normal" },
    legend: {
      labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, symbolStrokeWidth: 2, labelLimit: 220,
      symbolBaseFillColor: ink, symbolBaseStrokeColor: ink,
      orient: "bottom", columns: Math.max(1, Math.floor(width / 200)),
    },
    rule: { color: ink },
  };
}

function draw(name) {
  const box = document.querySelector(`[data-chart="${name}"] > .chart`);
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: theme(box.clientWidth) };
  const tooltip = { theme: dark.matches ? "dark" : "light" };
  const chart = { ...charts[name], height: box.clientWidth < 600 ? 480 : 360 }; // the legend takes its part
  return vegaEmbed(box, chart, { ...options, tooltip }).catch((error) => console.error(name, error));
}

const drawn = [];
for (const picture of document.querySelectorAll("[data-chart]")) {
  const [box, same, told] = ["div", "details", "summary"].map((tag) => document.createElement(tag));
  box.className = "chart";
  told.textContent = "As a picture";
  same.append(told, ...picture.childNodes);
  picture.append(box, same);
  picture.classList.add("charted");
  drawn.push(draw(picture.dataset.chart));
}
dark.addEventListener("change", () => Object.keys(charts).forEach(draw));
const done = Promise.all(drawn);
done.then(reachable);
