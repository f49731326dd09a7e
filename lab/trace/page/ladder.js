/* The ladder: a row per event, a line per lane, arrows between them. Mouse or keyboard select one
   row at a time; the section then gets a "point" event. */
const ROW = 20, TIMES = 138, TOP = 30, LANE = 250, RIGHT = 60;
const BAR = 5; // px per thread for its bars; the third and later threads share a place

function drawLadder(section, data, shown) {
  const svg = section.querySelector(".ladder");
  svg.replaceChildren();
  const room = svg.parentElement.clientWidth - TIMES - RIGHT;
  const lane = Math.max(LANE, Math.floor(room / data.lanes.length));
  const x = Object.fromEntries(data.lanes.map((each, at) => [each.id, TIMES + at * lane]));
  const rows = data.rows.map((row, number) => ({ ...row, number })).filter(shown);
  const width = TIMES + lane * data.lanes.length + RIGHT, height = TOP + ROW * rows.length + 8;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.dataset.width = width;
  svg.dataset.height = height;
  if (data.alone) element(svg, "text", { x: 68, y: 18, class: "time" }, "no strace");
  if (data.strace) element(svg, "text", { x: 126, y: 18, class: "time" }, "strace");
  for (const each of data.lanes) element(svg, "text", { x: x[each.id] - 4, y: 18, class: "title" }, each.title);
  drawLives(svg, data, rows, x);
  drawPhases(svg, rows, x);
  const beside = Object.fromEntries(data.lanes.map((each) => [each.id, BAR * Math.min(each.threads, 3)]));
  rows.forEach((row, at) => drawRow(svg, data, row, TOP + at * ROW, x, lane, width, beside));
}

function drawLives(svg, data, rows, x) {
  for (const { id } of data.lanes) {
    rows.forEach((row, at) => element(svg, "line", {
      x1: x[id], x2: x[id], y1: TOP + at * ROW, y2: TOP + (at + 1) * ROW, class: `life ${row.lives[id]}`,
    }));
  }
}

/* Draw waits and copies as bars beside their lane's line. */
function drawPhases(svg, rows, x) {
  const place = (moment) => {
    const at = rows.findIndex((row) => row.at >= moment);
    return TOP + (at < 0 ? rows.length : at) * ROW;
  };
  rows.forEach((row, at) => {
    if (!row.phases) return;
    const [begin, awake, done] = row.phases, end = TOP + (at + 0.9) * ROW;
    const turn = done > awake ? Math.min(place(awake), end - 6) : end;
    const bar = (name, from, to) => to > from && element(svg, "rect", {
      x: x[row.lane] + 4 + BAR * Math.min(row.thread, 2), width: 4, y: from, height: to - from, class: name,
    });
    if (awake > begin) bar("waiting", Math.min(place(begin) + 3, turn - 6), turn);
    if (done > awake) bar("copying", turn, end);
  });
}

function drawRow(svg, data, row, y, x, lane, width, beside) {
  const group = element(svg, "g", {
    class: `row ${row.kind}${row.minor ? " minor" : ""}`, "data-number": row.number, tabindex: -1,
  });
  element(group, "rect", { x: 0, y, width, height: ROW, class: "back" });
  const base = y + 14;
  if (!["message", "fields", "state"].includes(row.kind)) {
    const column = data.strace ? 126 : 64;
    element(group, "text", { x: column, y: base, class: "time" }, row.at.toFixed(3));
    if (data.strace && row.alone !== null) element(group, "text", { x: 64, y: base, class: "time" }, row.alone.toFixed(3));
  }
  if (row.kind === "packet") return drawArrow(group, row, y + ROW / 2, x);
  const first = row.to && x[row.to] < x[row.lane] ? row.to : row.lane, left = x[first];
  const space = row.kind === "fields" ? width - left - 30 : lane - 16 - beside[first];
  element(group, "text", { x: left + 7 + beside[first], y: base, class: "text" }, cut(row.text, space));
}

function drawArrow(group, row, y, x) {
  const from = x[row.lane], to = x[row.to], way = to > from ? 1 : -1;
  element(group, "line", { x1: from + 3 * way, x2: to - 8 * way, y1: y, y2: y, class: "arrow" });
  element(group, "path", { d: `M${to - 2 * way},${y} l${-8 * way},-4 v8 z`, class: "head" });
  const text = cut(row.text, Math.abs(to - from) - 60), long = text.length * CHARACTER + 8;
  const left = Math.min(from, to) + 24;
  element(group, "rect", { x: left - 4, y: y - 8, width: long, height: 16, class: "label" });
  element(group, "text", { x: left, y: y + 4, class: "text" }, text);
}

function point(section, data, number) {
  section.querySelector(".row.pointed")?.classList.remove("pointed");
  const group = section.querySelector(`.row[data-number="${number}"]`);
  if (!group) return;
  group.classList.add("pointed");
  const row = data.rows[number], list = document.createElement("dl");
  for (const [name, value] of row.details) {
    const term = document.createElement("dt"), description = document.createElement("dd");
    term.textContent = name;
    description.textContent = value;
    list.append(term, description);
  }
  const head = document.createElement("p"), title = document.createElement("strong");
  title.textContent = `${row.at.toFixed(3)} ms  ${row.text}`;
  head.append(title);
  section.querySelector(".details").replaceChildren(head, list);
  section.dispatchEvent(new CustomEvent("point", { detail: row }));
}
