/* Draw every trace of the page; connect mouse, keyboard and filters. */
const filters = document.querySelector(".filters");
let scale = 1;

function isShown(row) {
  const kind = row.minor ? "minor" : { fields: "message", note: "call" }[row.kind] ?? row.kind;
  return filters.elements[kind].checked;
}

function size(svg) {
  svg.setAttribute("width", svg.dataset.width * scale);
  svg.setAttribute("height", svg.dataset.height * scale);
}

function step(section, data, by) {
  const numbers = [...section.querySelectorAll(".row")].map((row) => Number(row.dataset.number));
  const current = section.querySelector(".row.pointed")?.dataset.number;
  const next = numbers[numbers.indexOf(Number(current)) + by] ?? numbers[by > 0 ? 0 : numbers.length - 1];
  point(section, data, next);
  section.querySelector(".row.pointed")?.scrollIntoView({ block: "nearest" });
}

for (const section of document.querySelectorAll(".trace")) {
  const data = JSON.parse(section.querySelector("script").textContent);
  const svg = section.querySelector(".ladder");
  svg.setAttribute("tabindex", 0);
  const ladder = () => {
    drawLadder(section, data, isShown);
    size(svg);
  };
  ladder();
  const timeline = makeTimeline(section, data);
  svg.addEventListener("pointermove", (event) => { // scrolling fires pointerover, too
    const row = event.target.closest(".row");
    if (row && !row.classList.contains("pointed")) point(section, data, Number(row.dataset.number));
  });
  svg.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    step(section, data, event.key === "ArrowDown" ? 1 : -1);
  });
  filters.addEventListener("change", ladder);
  addEventListener("resize", () => {
    ladder();
    timeline();
  });
}

filters.addEventListener("click", (event) => {
  const factor = event.target.dataset.zoom;
  if (factor === undefined) return;
  scale = Number(factor) ? Math.min(Math.max(scale * Number(factor), 0.4), 4) : 1;
  document.querySelectorAll(".ladder").forEach(size);
});
document.documentElement.dataset.drawn = "";
