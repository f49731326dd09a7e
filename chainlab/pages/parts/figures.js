// Draws a page's figures and sorts its tables. A page calls drawAll() once, at its end.
"use strict";

const shown = new Map(); // figure → its current Vega chart
let dressed = (rows) => rows; // a page may replace it, to adapt the rows to the reader's selection

// The inverse of pages.pack(): gzip in base64.
async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const ready = unpack(VEGA).then((text) => {
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script); // runs synchronously and defines window.vegaEmbed
});

async function draw(figure) {
  await ready;
  const place = figure.querySelector(".chart");
  const views = JSON.parse(await unpack(figure.querySelector("script").textContent));
  const spec = views[figure.querySelector(".view select")?.value ?? 0];
  spec.data.values = dressed(spec.data.values);
  shown.get(figure)?.finalize();
  const options = { config: CONFIG, mode: "vega-lite", renderer: "svg", actions: false, tooltip: { theme: "custom" } };
  shown.set(figure, await vegaEmbed(place, spec, options));
}

function sort(event) {
  const button = event.target.closest("button");
  if (!button) return;
  const head = button.closest("th");
  const rising = head.ariaSort !== "ascending";
  for (const other of head.parentNode.cells) other.ariaSort = "none";
  head.ariaSort = rising ? "ascending" : "descending";
  const body = head.closest("table").tBodies[0];
  const value = (row) => row.cells[head.cellIndex].dataset.key;
  const compare = (one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === "" || b === "") return (a === "") - (b === ""); // cells without a value go last
    return (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b) * (rising ? 1 : -1);
  };
  body.append(...[...body.rows].sort(compare));
}

async function drawAll() {
  for (const table of document.querySelectorAll(".sortable")) table.addEventListener("click", sort);
  for (const figure of document.querySelectorAll("figure:has(.chart)")) {
    figure.querySelector(".view select")?.addEventListener("change", () => draw(figure));
    await draw(figure);
  }
  document.documentElement.dataset.drawn = "yes";
}
