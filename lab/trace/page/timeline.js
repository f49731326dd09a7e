/* The timeline: a zoomable row per thread, to scale. It shows when the thread ran and slept, its
   calls, and both phases of each read; a vertical line marks the selected row's time. */
const LINE = 26, NAMES = 190;

function makeTimeline(section, data) {
  const svg = section.querySelector(".timeline"), whole = [0, Math.max(data.milliseconds, 0.001)];
  let [from, to] = whole, now = null;
  const width = () => Math.max(600, svg.parentElement.clientWidth);
  const x = (moment) => NAMES + ((moment - from) / (to - from)) * (width() - NAMES - 12);
  const moment = (at) => from + ((at - NAMES) / (width() - NAMES - 12)) * (to - from);

  function bar(y, height, begin, end, name) {
    const left = Math.max(x(begin), NAMES), right = Math.min(x(end), width() - 12);
    if (right < NAMES || left > width() - 12 || right < left) return;
    element(svg, "rect", { x: left, y, width: Math.max(right - left, 1), height, class: name });
  }

  function draw() {
    const height = 34 + LINE * data.threads.length;
    svg.replaceChildren();
    svg.setAttribute("width", width());
    svg.setAttribute("height", height);
    drawAxis(height);
    data.threads.forEach((thread, number) => drawThread(thread, 28 + number * LINE));
    if (now !== null && now >= from && now <= to) {
      element(svg, "line", { x1: x(now), x2: x(now), y1: 20, y2: height, class: "now" });
    }
  }

  function drawAxis(height) {
    const step = 10 ** Math.floor(Math.log10((to - from) / 4)), many = (to - from) / step > 10 ? 5 : 1;
    for (let at = Math.ceil(from / step / many) * step * many; at <= to; at += step * many) {
      element(svg, "line", { x1: x(at), x2: x(at), y1: 20, y2: height, class: "axis" });
      element(svg, "text", { x: x(at) + 3, y: 14, class: "tick" }, `${Number(at.toPrecision(6))} ms`);
    }
  }

  function drawThread(thread, y) {
    const lane = data.lanes.find((each) => each.id === thread.lane).title;
    element(svg, "text", { x: 6, y: y + 14 }, cut(`${lane} ${thread.name}`, NAMES - 12));
    for (const [begin, end, doing] of thread.spans) bar(y + 4, 14, begin, end, doing);
    for (const number of thread.calls) {
      const row = data.rows[number];
      bar(y, 3, row.at, row.at, "call");
      if (!row.phases) continue;
      const [begin, awake, done] = row.phases;
      if (awake > begin) bar(y + 18, 4, begin, awake, "waiting");
      if (done > awake) bar(y + 18, 4, awake, done, "copying");
    }
  }

  function zoom(factor, around) {
    const length = Math.min(Math.max((to - from) / factor, 0.005), whole[1]);
    const share = (around - from) / (to - from);
    from = Math.min(Math.max(around - share * length, 0), whole[1] - length);
    to = from + length;
    draw();
  }

  function reset() {
    [from, to] = whole;
    draw();
  }

  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, moment(event.offsetX));
  }, { passive: false });
  svg.addEventListener("dblclick", reset);
  svg.addEventListener("pointerdown", (event) => svg.setPointerCapture(event.pointerId));
  svg.addEventListener("pointermove", (event) => {
    if (!svg.hasPointerCapture(event.pointerId) || !event.movementX) return;
    const length = to - from, by = moment(NAMES + event.movementX) - from;
    from = Math.min(Math.max(from - by, 0), whole[1] - length);
    to = from + length;
    draw();
  });
  for (const button of section.querySelectorAll("[data-time]")) {
    const factor = Number(button.dataset.time);
    button.addEventListener("click", () => (factor ? zoom(factor, now ?? (from + to) / 2) : reset()));
  }
  section.addEventListener("point", (event) => {
    now = event.detail.at;
    draw();
  });
  draw();
  return draw;
}
